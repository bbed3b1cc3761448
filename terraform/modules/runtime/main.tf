# The service: hosts of one consumer group, each a task on Fargate.

data "aws_region" "current" {}
data "aws_partition" "current" {}
data "aws_caller_identity" "current" {}

locals {
  max_hosts = coalesce(var.hosts.max, max(var.hosts.min, var.partitions))

  # Hosts on Fargate have no name that survives a restart. So the group must soon miss one that died: after 10 s, not
  # librdkafka's 45.
  librdkafka = merge({ "session.timeout.ms" = "10000" }, var.librdkafka)

  # Each is a setting of the host: TIDEMILL_<KEY>. null leaves one out.
  settings = {
    TIDEMILL_BROKERS         = var.kafka.brokers
    TIDEMILL_AUTH            = var.kafka.auth
    TIDEMILL_TOPIC           = var.topic
    TIDEMILL_GROUP           = var.group
    TIDEMILL_RAW             = var.raw
    TIDEMILL_PROCESSED       = var.processed
    TIDEMILL_CATALOG         = "glue"
    TIDEMILL_DATABASE        = var.database
    TIDEMILL_TRANSFORMS      = var.transforms
    TIDEMILL_TRUSTED_DIGESTS = length(var.trusted.digests) == 0 ? null : join(",", var.trusted.digests)
    TIDEMILL_TRUSTED_KEYS    = length(var.trusted.keys) == 0 ? null : join(",", var.trusted.keys)
    TIDEMILL_COMMIT_INTERVAL = var.commit_interval
    TIDEMILL_LOGS            = var.logs == 1 ? null : tostring(var.logs)
    TIDEMILL_MEMORY          = coalesce(var.buffer, "${floor(var.memory_mib / 4)}MiB")
    TIDEMILL_LIBRDKAFKA      = join(",", [for property, value in local.librdkafka : "${property}=${value}"])
    TIDEMILL_HTTP            = var.http == null ? null : "0.0.0.0:8080"
    # Empty: nothing is kept. A task's disk ends with it, and compiling takes a second.
    TIDEMILL_CACHE      = ""
    TIDEMILL_LOG_FORMAT = "json"
    TIDEMILL_PULSE      = "30s"
    AWS_REGION          = data.aws_region.current.name
  }

  secrets     = merge(var.http == null ? {} : { TIDEMILL_HTTP_TOKEN = var.http.token_arn }, var.secrets)
  environment = { for name, value in merge(local.settings, var.environment) : name => value if value != null && !contains(keys(local.secrets), name) }
}

resource "aws_ecs_cluster" "this" {
  count = var.cluster_arn == null ? 1 : 0

  name = var.name
  tags = var.tags
}

resource "aws_ecs_task_definition" "this" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory_mib
  task_role_arn            = aws_iam_role.task.arn
  execution_role_arn       = aws_iam_role.execution.arn
  tags                     = var.tags

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }

  # The one place that can be written to: the socket of `tidemill status` lies there. The image has a volume at /tmp
  # that is its user's, and on Fargate a volume there keeps that owner.
  volume {
    name = "tmp"
  }

  # What ECS would add by itself is written out, so that a second plan finds no difference.
  container_definitions = jsonencode([{
    name                   = "tidemill"
    image                  = var.image
    essential              = true
    command                = ["run"]
    readonlyRootFilesystem = true
    # SIGTERM commits once more and leaves the group: at most 7 s and 2 s.
    stopTimeout    = 30
    environment    = [for name in sort(keys(local.environment)) : { name = name, value = local.environment[name] }]
    secrets        = [for name in sort(keys(local.secrets)) : { name = name, valueFrom = local.secrets[name] }]
    mountPoints    = [{ sourceVolume = "tmp", containerPath = "/tmp", readOnly = false }]
    portMappings   = var.http == null ? [] : [{ containerPort = 8080, hostPort = 8080, protocol = "tcp" }]
    volumesFrom    = []
    systemControls = []

    linuxParameters = {
      capabilities = { add = [], drop = ["ALL"] }
    }

    # The image has no shell and no curl: the binary asks itself.
    healthCheck = {
      command     = ["CMD", "/usr/local/bin/tidemill", "health"]
      interval    = 10
      timeout     = 5
      retries     = 3
      startPeriod = 60
    }

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = aws_cloudwatch_log_group.this.name
        "awslogs-region"        = data.aws_region.current.name
        "awslogs-stream-prefix" = "host"
        # A log that is slow must not hold up events.
        "mode"            = "non-blocking"
        "max-buffer-size" = "4m"
      }
    }
  }])
}

resource "aws_ecs_service" "this" {
  name             = var.name
  cluster          = var.cluster_arn == null ? aws_ecs_cluster.this[0].arn : var.cluster_arn
  task_definition  = aws_ecs_task_definition.this.arn
  desired_count    = var.hosts.min
  launch_type      = "FARGATE"
  platform_version = "LATEST"
  # After a zone was away, hosts are spread again; new ones come before old ones go.
  availability_zone_rebalancing = "ENABLED"
  enable_execute_command        = false # a shell beside the data; and the image has none
  propagate_tags                = "SERVICE"
  wait_for_steady_state         = var.wait
  tags                          = var.tags

  # New hosts come before old ones go. Whichever has a partition, its events are there once.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.this.id]
    assign_public_ip = var.assign_public_ip
  }

  lifecycle {
    ignore_changes = [desired_count] # autoscaling's
  }

  # A host without its rights would fail, and the deployment with it.
  depends_on = [aws_iam_role_policy.task, aws_iam_role_policy.execution]
}
