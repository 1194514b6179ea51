/**
 * PretrainJob. {@link dev.perigee.operator.pretrain.PretrainJobReconciler} reads as the table of
 * contents: observe, {@link dev.perigee.operator.pretrain.Life decide}, {@link
 * dev.perigee.operator.pretrain.PretrainPlan plan}, {@link
 * dev.perigee.operator.pretrain.StatusReport report}, act.
 */
package dev.perigee.operator.pretrain;
