# Logs, and the metrics that are made of them. Each host writes a line of JSON, the pulse, every half minute:
#   {"message":"pulse","lag":1204,"freshness_seconds":2.1,"waiting_seconds":0.8,"events":30211,…}
# So no agent runs beside it, and a host needs no rights on CloudWatch.

locals {
  log_group = "/tidemill/${var.name}"
  namespace = "Tidemill/${var.name}"

  metrics = {
    Lag        = { field = "lag", unit = "Count" }                 # events of the host's partitions, not committed yet
    Freshness  = { field = "freshness_seconds", unit = "Seconds" } # the worst of what was committed since the last pulse
    Waiting    = { field = "waiting_seconds", unit = "Seconds" }   # how long the oldest event has waited for a commit
    Events     = { field = "events", unit = "Count" }              # committed since the last pulse
    Rejected   = { field = "rejected", unit = "Count" }            # … of these rejected
    Commits    = { field = "commits", unit = "Count" }             # since the last pulse
    Ready      = { field = "ready", unit = "None" }                # 1 or 0
    Partitions = { field = "partitions", unit = "Count" }          # that the host has
  }
}

resource "aws_cloudwatch_log_group" "this" {
  name              = local.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = var.log_kms_key_arn
  tags              = var.tags
}

resource "aws_cloudwatch_log_metric_filter" "this" {
  for_each = local.metrics

  name           = each.key
  log_group_name = aws_cloudwatch_log_group.this.name
  # A pulse without this field says nothing of it: no events were committed, so none was fresh or old.
  pattern = "{ $.message = \"pulse\" && $.${each.value.field} >= 0 }"

  metric_transformation {
    name      = each.key
    namespace = local.namespace
    value     = "$.${each.value.field}"
    unit      = each.value.unit
  }
}
