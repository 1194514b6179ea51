// What CUDA C++ has no words for on Hopper: barriers in shared memory that count bytes, the copy
// engine (TMA), and the products of a warp group (wgmma). Every wrapper is one PTX instruction;
// section numbers are those of the PTX ISA 8.x manual.
#pragma once
#include <cuda_bf16.h>
#include <stdint.h>

// Machine code for sm_90a only; the PTX for older chips leaves these kernels out.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define PERIGEE_HOPPER 1
#endif

// The driver's 128-byte description of a tensor in memory, passed by value.
struct alignas(64) TensorMap {
  uint64_t words[16];
};

#ifdef PERIGEE_HOPPER
namespace hopper {

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// ---- mbarrier (9.7.13.15) ----

__device__ __forceinline__ void barrier_init(uint64_t* bar, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(bar)), "r"(arrivals));
}

// Makes the initialised barriers visible to the copy engine.
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void barrier_expect(uint64_t* bar, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(bar)),
               "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void barrier_arrive(uint64_t* bar) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(bar)) : "memory");
}

// The same on the barrier at the same place in block `block` of the cluster. Without the cluster's
// scope: what is handed over is the right to overwrite, no data, and a release at that scope would
// halt the warp for a round trip to the second-level cache.
__device__ __forceinline__ void barrier_arrive_at(uint64_t* bar, uint32_t block) {
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
      "}\n" ::"r"(shared_address(bar)),
      "r"(block)
      : "memory");
}

// Stores an integer at the same place in block `block` of the cluster, whose barrier at the place of
// `bar` counts its four bytes (9.7.9.12). A cluster of one block is its own.
__device__ __forceinline__ void store_at(int* to, int value, uint64_t* bar, uint32_t block) {
  asm volatile(
      "{\n"
      ".reg .b32 there, counts;\n"
      "mapa.shared::cluster.u32 there, %0, %3;\n"
      "mapa.shared::cluster.u32 counts, %2, %3;\n"
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.s32 [there], %1, [counts];\n"
      "}\n" ::"r"(shared_address(to)),
      "r"(value), "r"(shared_address(bar)), "r"(block)
      : "memory");
}

// An integer from shared memory: through a generic address the compiler takes the longer way.
__device__ __forceinline__ int load_shared(const int* from) {
  int value;
  asm volatile("ld.shared.s32 %0, [%1];" : "=r"(value) : "r"(shared_address(from)) : "memory");
  return value;
}

// Bytes from `p` in shared memory to the next multiple of `alignment`, a power of two. The compiler may
// not know how they come about: it would work the address out anew in every turn of a loop.
__device__ __forceinline__ uint32_t padding(const void* p, uint32_t alignment) {
  uint32_t bytes = -shared_address(p) & (alignment - 1);
  asm volatile("" : "+r"(bytes));
  return bytes;
}

// Every thread of every block of the cluster meets.
__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}

// Waits until the phase with this parity has completed.
__device__ __forceinline__ void barrier_wait(uint64_t* bar, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra.uni finished;\n"
      "bra.uni again;\n"
      "finished:\n"
      "}\n" ::"r"(shared_address(bar)),
      "r"(parity)
      : "memory");
}

// A named barrier among `threads` threads, for one warp group to meet without the others.
__device__ __forceinline__ void group_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// ---- the copy engine (9.7.9.25) ----

__device__ __forceinline__ void tma_load(void* to, const TensorMap* map, uint64_t* bar, int x, int y,
                                         int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(shared_address(to)),
      "l"(map), "r"(shared_address(bar)), "r"(x), "r"(y), "r"(z)
      : "memory");
}

// The same, into the same place of every block of the cluster whose bit is set in `blocks`; each
// block's own barrier counts the bytes.
__device__ __forceinline__ void tma_load_multicast(void* to, const TensorMap* map, uint64_t* bar,
                                                   int x, int y, int z, uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(shared_address(to)),
      "l"(map), "r"(shared_address(bar)), "r"(x), "r"(y), "r"(z), "h"(blocks)
      : "memory");
}

__device__ __forceinline__ void tma_store(const TensorMap* map, const void* from, int x, int y,
                                          int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(
          map),
      "r"(shared_address(from)), "r"(x), "r"(y), "r"(z)
      : "memory");
}

// The same, added to what is there: float32 tensors.
__device__ __forceinline__ void tma_add(const TensorMap* map, const void* from, int x, int y,
                                        int z) {
  asm volatile(
      "cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.tile.bulk_group [%0, {%2, %3, %4}], "
      "[%1];" ::"l"(map),
      "r"(shared_address(from)), "r"(x), "r"(y), "r"(z)
      : "memory");
}

// Bytes that lie together, their number and addresses divisible by 16.
__device__ __forceinline__ void bulk_load(void* to, const void* from, uint32_t bytes,
                                          uint64_t* bar) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
          shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(bar))
      : "memory");
}

__device__ __forceinline__ void bulk_store(void* to, const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to),
               "r"(shared_address(from)), "r"(bytes)
               : "memory");
}

// This thread's stores since the last commit, if any, become one group.
__device__ __forceinline__ void tma_store_commit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

// Waits until at most `pending` of this thread's groups still read shared memory.
template <int pending>
__device__ __forceinline__ void tma_store_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(pending) : "memory");
}

__device__ __forceinline__ void tma_store_wait_all() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

__device__ __forceinline__ void prefetch_map(const TensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// Orders this thread's ordinary writes to shared memory before what the copy engine and the
// tensor cores read next.
__device__ __forceinline__ void async_fence() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// ---- registers of a warp group (9.7.19.5) ----

template <int n>
__device__ __forceinline__ void registers_more() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n));
}

template <int n>
__device__ __forceinline__ void registers_fewer() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n));
}

// ---- wgmma (9.7.15) ----

// Descriptor of an operand tile in shared memory with the 128-byte swizzle. `leading` and `stride`
// are the byte offsets of 9.7.15.5.1: for a K-major tile (rows of 64 bf16) leading is unused and
// stride is 1024, eight rows; for an M/N-major tile leading separates blocks of 64 along M/N and
// stride separates groups of eight along K.
__device__ __forceinline__ uint64_t operand(const void* tile, uint32_t leading, uint32_t stride) {
  // Beyond 18 bits an address tells which block of a cluster it belongs to.
  const uint32_t low = (shared_address(tile) & 0x3FFFF) >> 4 | leading >> 4 << 16;
  const uint32_t high = stride >> 4 | 1u << 30;
  return static_cast<uint64_t>(high) << 32 | low;
}

// The operand that lies `bytes` further: one addition, as nothing is carried out of the address.
__device__ __forceinline__ uint64_t moved(uint64_t operand, int bytes) {
  return (operand & ~0xFFFFFFFFull) | (static_cast<uint32_t>(operand) + (bytes >> 4));
}

// Keeps the compiler from knowing x: where it sees through a condition it may thread its way around
// the products of a branch and then, unsure of their registers, wait for each one (ptxas C7515).
__device__ __forceinline__ bool opaque(bool x) {
  int y = x;
  asm volatile("" : "+r"(y));
  return y != 0;
}

// Keeps the compiler from preparing what depends on x before a loop, in registers for each term.
__device__ __forceinline__ void keep_in_loop(uint64_t& x) {
  asm volatile("" : "+l"(x));
}

// Accumulators are about to be read by wgmma: orders earlier register writes.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int pending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

#define PERIGEE_OUT4(d, i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define PERIGEE_OUT16(d, i) \
  PERIGEE_OUT4(d, i), PERIGEE_OUT4(d, (i) + 4), PERIGEE_OUT4(d, (i) + 8), PERIGEE_OUT4(d, (i) + 12)
#define PERIGEE_OUT128(d)                                                                  \
  PERIGEE_OUT16(d, 0), PERIGEE_OUT16(d, 16), PERIGEE_OUT16(d, 32), PERIGEE_OUT16(d, 48),   \
      PERIGEE_OUT16(d, 64), PERIGEE_OUT16(d, 80), PERIGEE_OUT16(d, 96), PERIGEE_OUT16(d, 112)

// d[64 x 256] (+)= a[64 x 16] b[16 x 256], bf16 in and float32 out. A transposed operand is
// M/N-major in shared memory. The thread t of the warp group holds, in d[4 j + 2 h + c], row
// 16 (t / 32) + 8 h + (t % 32) / 4 and column 8 j + 2 (t % 4) + c.
template <int a_transposed, int b_transposed>
__device__ __forceinline__ void wgmma_64x256x16(float (&d)[128], uint64_t a, uint64_t b,
                                                int accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %130, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, "
      "%111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, "
      "%125, %126, %127}, %128, %129, p, 1, 1, %131, %132;\n"
      "}\n"
      : PERIGEE_OUT128(d)
      : "l"(a), "l"(b), "r"(accumulate), "n"(a_transposed), "n"(b_transposed));
}

// The same for b[16 x 128], with the first half of d.
template <int a_transposed, int b_transposed>
__device__ __forceinline__ void wgmma_64x128x16(float (&d)[128], uint64_t a, uint64_t b,
                                                int accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, p, 1, 1, %67, %68;\n"
      "}\n"
      : PERIGEE_OUT16(d, 0), PERIGEE_OUT16(d, 16), PERIGEE_OUT16(d, 32), PERIGEE_OUT16(d, 48)
      : "l"(a), "l"(b), "r"(accumulate), "n"(a_transposed), "n"(b_transposed));
}

// Stores four 8 x 8 matrices of bf16; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void stmatrix_x4(uint32_t address, uint32_t r0, uint32_t r1, uint32_t r2,
                                            uint32_t r3) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
               "r"(r0), "r"(r1), "r"(r2), "r"(r3)
               : "memory");
}

// Loads four 8 x 8 matrices of bf16, addressed as stmatrix_x4 does.
__device__ __forceinline__ void ldmatrix_x4(uint32_t address, uint32_t (&r)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// The same store with each matrix transposed on its way.
__device__ __forceinline__ void stmatrix_transposed_x4(uint32_t address, uint32_t r0, uint32_t r1,
                                                       uint32_t r2, uint32_t r3) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
      "r"(r0), "r"(r1), "r"(r2), "r"(r3)
      : "memory");
}

// 1 / (1 + exp(-x)) in four instructions; the error is that of the special functions, below 1e-6.
__device__ __forceinline__ float sigmoid(float x) {
  float power, result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * -1.44269504f));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(1.0f + power));
  return result;
}

// Two float32 numbers rounded to bf16, the first in the low half.
__device__ __forceinline__ uint32_t pack(float low, float high) {
  uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

// The two numbers again.
__device__ __forceinline__ float2 unpack(uint32_t pair) {
  return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xFFFF0000u));
}

}  // namespace hopper
#endif  // PERIGEE_HOPPER
