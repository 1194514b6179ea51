/** Reconcilers: observe, plan, act, report. */
package dev.perigee.operator;
