# One page: is it fresh, does it keep up, what is rejected, are the hosts well.

locals {
  region = data.aws_region.current.name


  panels = [
    { title = "Freshness, worst (s)", metrics = [["Freshness", "Maximum"]], line = var.alarms.freshness_seconds },
    { title = "Events to commit", metrics = [["Lag", "Average"], ["Lag", "Maximum"]], line = var.alarms.lag },
    { title = "Oldest event that waits (s)", metrics = [["Waiting", "Maximum"]], line = var.alarms.waiting_seconds },
    { title = "Events committed", metrics = [["Events", "Sum"], ["Rejected", "Sum"]], line = null },
    { title = "Commits", metrics = [["Commits", "Sum"]], line = null },
    { title = "Ready, least", metrics = [["Ready", "Minimum"]], line = 1 },
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = concat(
      [
        for index, panel in local.panels : {
          type   = "metric"
          x      = index % 3 * 8
          y      = floor(index / 3) * 6
          width  = 8
          height = 6
          properties = {
            title   = panel.title
            region  = local.region
            view    = "timeSeries"
            period  = 60
            metrics = [for metric in panel.metrics : [local.namespace, metric[0], { stat = metric[1], label = "${metric[0]}, ${lower(metric[1])}" }]]
            yAxis   = { left = { min = 0 } }
            annotations = {
              horizontal = panel.line == null ? [] : [{ label = "bound", value = panel.line }]
            }
          }
        }
      ],
      [
        {
          type   = "alarm"
          x      = 0
          y      = 12
          width  = 24
          height = 2
          properties = {
            title  = "Alarms"
            alarms = concat([for name in sort(keys(local.alarms)) : aws_cloudwatch_metric_alarm.this[name].arn], [aws_cloudwatch_metric_alarm.rejects.arn])
          }
        },
        {
          type   = "log"
          x      = 0
          y      = 14
          width  = 24
          height = 6
          properties = {
            title  = "Warnings and errors"
            region = local.region
            view   = "table"
            query  = "SOURCE '${local.log_group}' | fields @timestamp, level, message | filter level in ['WARN', 'ERROR'] | sort @timestamp desc | limit 50"
          }
        },
      ],
    )
  })
}
