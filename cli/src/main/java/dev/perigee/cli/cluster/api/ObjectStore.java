package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The objects, in memory, with one revision counter for all of them and a bounded history of
 * changes. A watch asks for the changes after the revision it has seen, and waits when there are
 * none: nobody holds a queue for it, so a slow client costs nothing but, in the end, a 410.
 *
 * <p>Stored objects are never modified; a change stores a new tree. What is handed out is to be
 * read only.
 */
public final class ObjectStore {
  private static final int HISTORY = 20_000;

  /** Where an object is: its kind's {@link ResourceType#storageName()}, namespace and name. */
  public record ObjectKey(String resource, String namespace, String name)
      implements Comparable<ObjectKey> {
    @Override
    public int compareTo(ObjectKey other) {
      int order = resource.compareTo(other.resource);
      order = order != 0 ? order : namespace.compareTo(other.namespace);
      return order != 0 ? order : name.compareTo(other.name);
    }
  }

  /** What happened to an object. */
  public enum ChangeType {
    ADDED,
    MODIFIED,
    DELETED
  }

  /**
   * One change.
   *
   * @param revision the revision that it made
   * @param object the object after it; the last state, with the new revision, when deleted
   * @param previous the object before it, null when added
   */
  public record Change(
      long revision, ChangeType type, ObjectKey key, ObjectNode object, ObjectNode previous) {}

  /** Objects as they were at one revision. */
  public record Snapshot(long revision, List<ObjectNode> objects) {}

  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  private final TreeMap<ObjectKey, ObjectNode> objects = new TreeMap<>();
  private final Deque<Change> history = new ArrayDeque<>();
  private long revision;
  private long forgotten;
  private boolean closed;

  /** The object there, null when there is none. */
  public ObjectNode get(ObjectKey key) {
    lock.lock();
    try {
      return objects.get(key);
    } finally {
      lock.unlock();
    }
  }

  /**
   * The objects of a kind.
   *
   * @param namespace only this one, or empty for all
   */
  public Snapshot list(String resource, String namespace) {
    lock.lock();
    try {
      List<ObjectNode> found = new ArrayList<>();
      for (Map.Entry<ObjectKey, ObjectNode> e :
          objects.tailMap(new ObjectKey(resource, namespace, ""), true).entrySet()) {
        if (!e.getKey().resource().equals(resource)
            || (!namespace.isEmpty() && !e.getKey().namespace().equals(namespace))) {
          break;
        }
        found.add(e.getValue());
      }
      return new Snapshot(revision, found);
    } finally {
      lock.unlock();
    }
  }

  /** Every object there is. */
  public Map<ObjectKey, ObjectNode> all() {
    lock.lock();
    try {
      return new TreeMap<>(objects);
    } finally {
      lock.unlock();
    }
  }

  /**
   * Stores an object if what is there is still what the caller saw.
   *
   * @param seen what the caller read there, null for nothing
   * @param next what to store, null to delete; its resourceVersion is set here
   * @return what is stored now (the last state when deleted), or null when another was faster
   */
  public ObjectNode replace(ObjectKey key, ObjectNode seen, ObjectNode next) {
    lock.lock();
    try {
      if (!version(objects.get(key)).equals(version(seen))) {
        return null;
      }
      long at = ++revision;
      ObjectNode stored = next == null ? seen.deepCopy() : next;
      Json.metadata(stored).put("resourceVersion", Long.toString(at));
      if (next == null) {
        objects.remove(key);
      } else {
        objects.put(key, stored);
      }
      ChangeType type =
          next == null ? ChangeType.DELETED : seen == null ? ChangeType.ADDED : ChangeType.MODIFIED;
      history.addLast(new Change(at, type, key, stored, seen));
      if (history.size() > HISTORY) {
        forgotten = history.removeFirst().revision();
      }
      changed.signalAll();
      return stored;
    } finally {
      lock.unlock();
    }
  }

  private static String version(ObjectNode object) {
    return Json.text(object, "metadata", "resourceVersion");
  }

  /** The newest revision. */
  public long revision() {
    lock.lock();
    try {
      return revision;
    } finally {
      lock.unlock();
    }
  }

  /**
   * The changes after a revision, waiting for one when there are none.
   *
   * @param resource only of this kind, or empty for all
   * @return the changes; empty when the time is over or the store is closed
   * @throws ApiError 410 when the history does not reach back that far
   */
  public List<Change> changesAfter(long after, String resource, long waitMillis)
      throws InterruptedException {
    long left = TimeUnit.MILLISECONDS.toNanos(waitMillis);
    lock.lock();
    try {
      while (true) {
        if (after < forgotten) {
          throw ApiError.expired("too old resource version: " + after + " (" + forgotten + ")");
        }
        List<Change> found = new ArrayList<>();
        var newestFirst = history.descendingIterator();
        while (newestFirst.hasNext()) {
          Change change = newestFirst.next();
          if (change.revision() <= after) {
            break;
          }
          if (resource.isEmpty() || change.key().resource().equals(resource)) {
            found.add(change);
          }
        }
        if (!found.isEmpty() || closed || left <= 0) {
          return found.reversed();
        }
        left = changed.awaitNanos(left);
      }
    } finally {
      lock.unlock();
    }
  }

  /** Whether the store is closed: no watch should wait on it any longer. */
  public boolean closed() {
    lock.lock();
    try {
      return closed;
    } finally {
      lock.unlock();
    }
  }

  /** Ends every wait for changes. */
  public void close() {
    lock.lock();
    try {
      closed = true;
      changed.signalAll();
    } finally {
      lock.unlock();
    }
  }
}
