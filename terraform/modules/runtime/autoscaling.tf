# More hosts when events pile up, fewer when they do not. Each host tells of its own partitions, so the average over
# hosts is what one of them has left to do; a host without partitions tells 0 and pulls it down. More hosts than
# partitions would have nothing to do.

resource "aws_appautoscaling_target" "this" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${local.cluster_name}/${aws_ecs_service.this.name}"
  min_capacity       = var.hosts.min
  max_capacity       = local.max_hosts
  tags               = var.tags
}

locals {
  cluster_name = var.cluster_arn == null ? aws_ecs_cluster.this[0].name : split("/", var.cluster_arn)[1]
}

resource "aws_appautoscaling_policy" "lag" {
  name               = "${var.name}-lag"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  resource_id        = aws_appautoscaling_target.this.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = var.hosts.lag_of_each
    scale_out_cooldown = 60
    scale_in_cooldown  = 600 # each change moves partitions

    customized_metric_specification {
      namespace   = local.namespace
      metric_name = "Lag"
      statistic   = "Average"
      unit        = "Count"
    }
  }

  depends_on = [aws_cloudwatch_log_metric_filter.this]
}
