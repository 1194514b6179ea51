/**
 * How one optimizer step is laid out over ranks, as data that both the programs and whoever plans
 * for them read. Read in this order: {@link dev.perigee.plan.StageLayout} (which layers stand on
 * which stage), {@link dev.perigee.plan.Schedule} (what each stage does, step by step) and {@link
 * dev.perigee.plan.ScheduleCheck} (why that cannot deadlock, and how many activations it keeps).
 */
package dev.perigee.plan;
