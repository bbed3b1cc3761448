# Alarms on the metrics of logs.tf. Each says what to run next. The rules for Prometheus in ops/ are finer: these are
# what CloudWatch can tell from the pulse alone.

locals {
  topic_arn = length(var.alarms.emails) > 0 ? aws_sns_topic.this[0].arn : var.alarms.topic_arn
  actions   = local.topic_arn == null ? [] : [local.topic_arn]

  alarms = {
    freshness = {
      metric      = "Freshness", statistic = "Maximum", comparison = "GreaterThanThreshold"
      threshold   = var.alarms.freshness_seconds, of = 5, at = 3, missing = "notBreaching"
      description = "Events are older than ${var.alarms.freshness_seconds} s when readers can see them. Look at lag and at the hosts' processors; `tidemill log` shows where a commit's time went."
    }
    lag = {
      metric      = "Lag", statistic = "Maximum", comparison = "GreaterThanThreshold"
      threshold   = var.alarms.lag, of = 5, at = 5, missing = "notBreaching"
      description = "A host has more than ${var.alarms.lag} events to commit. Are there as many hosts as partitions? Then a host needs more processors (cpu), or the topic more partitions."
    }
    commits = {
      metric      = "Waiting", statistic = "Maximum", comparison = "GreaterThanThreshold"
      threshold   = var.alarms.waiting_seconds, of = 3, at = 2, missing = "notBreaching"
      description = "Events wait, and nothing is committed: for more than ${var.alarms.waiting_seconds} s. Read the last warnings and errors in the log group; run `tidemill doctor` with the hosts' settings."
    }
    ready = {
      metric      = "Ready", statistic = "Minimum", comparison = "LessThanThreshold"
      threshold   = 1, of = 5, at = 3, missing = "notBreaching"
      description = "A host runs but is not ready: it has no partitions, does not commit, or does not reach its store or catalog. The log group says which; run `tidemill doctor`."
    }
    silent = {
      metric      = "Ready", statistic = "SampleCount", comparison = "LessThanThreshold"
      threshold   = 1, of = 3, at = 3, missing = "breaching"
      description = "No host has said anything for three minutes. Look at the service's events and at why its tasks stopped (exit code 1: a person is needed, and the last line names what)."
    }
  }
}

resource "aws_sns_topic" "this" {
  count = length(var.alarms.emails) > 0 ? 1 : 0

  # Not encrypted with the key that AWS keeps for SNS: CloudWatch could not publish. Alarms hold no events.
  name = "${var.name}-alarms"
  tags = var.tags
}

resource "aws_sns_topic_subscription" "this" {
  for_each = var.alarms.emails

  topic_arn = aws_sns_topic.this[0].arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = local.namespace
  metric_name         = each.value.metric
  statistic           = each.value.statistic
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  period              = 60
  evaluation_periods  = each.value.of
  datapoints_to_alarm = each.value.at
  treat_missing_data  = each.value.missing
  alarm_actions       = local.actions
  ok_actions          = local.actions
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "rejects" {
  alarm_name          = "${var.name}-rejects"
  alarm_description   = "More than ${var.alarms.reject_percent} % of the events are rejected. `tidemill rejects --since 1h --samples 3` counts them by reason; when the cause is gone, `tidemill rejects replay` sends them back."
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.alarms.reject_percent
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.actions
  ok_actions          = local.actions
  tags                = var.tags

  metric_query {
    id          = "share"
    label       = "rejected, percent"
    expression  = "IF(events > 100, 100 * rejected / events, 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { events = "Events", rejected = "Rejected" }

    content {
      id          = metric_query.key
      return_data = false

      metric {
        namespace   = local.namespace
        metric_name = metric_query.value
        stat        = "Sum"
        period      = 300
      }
    }
  }
}
