# The service, its rights, its alarms.

mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
}

variables {
  image      = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/tidemill:0.1.0"
  vpc_id     = "vpc-1"
  subnet_ids = ["subnet-1", "subnet-2"]
  kafka = {
    brokers     = "b-1.example.com:9098"
    auth        = "msk-iam"
    cluster_arn = "arn:aws:kafka:eu-west-1:123456789012:cluster/events/4d1f-1"
  }
  transforms = "s3://user-events-transforms/transforms"
}

run "defaults" {
  command = plan

  module {
    source = "./modules/runtime"
  }

  # --- rights -----------------------------------------------------------------------------------------------------

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.task.policy).Statement :
      alltrue([for action in statement.Action : !strcontains(action, "*")]) && alltrue([for resource in statement.Resource : resource != "*"])
    ])
    error_message = "a host may do what is named, to what is named"
  }

  assert {
    condition = jsonencode(distinct(sort(flatten([
      for statement in jsondecode(aws_iam_role_policy.task.policy).Statement : statement.Action if statement.Effect == "Allow"
      ])))) == jsonencode([
      "glue:BatchCreatePartition", "glue:BatchDeletePartition", "glue:BatchGetPartition", "glue:CreateTable", "glue:GetDatabase",
      "glue:GetPartitions", "glue:GetTable",
      "glue:UpdatePartition", "glue:UpdateTable",
      "kafka-cluster:AlterGroup", "kafka-cluster:Connect", "kafka-cluster:DescribeGroup", "kafka-cluster:DescribeTopic", "kafka-cluster:ReadData",
      "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListBucket", "s3:PutObject",
    ])
    error_message = "the rights of a host: exactly the calls that it makes"
  }

  assert {
    condition = jsonencode({
      for statement in jsondecode(aws_iam_role_policy.task.policy).Statement : statement.Sid => statement.Resource if startswith(statement.Sid, "Kafka")
      }) == jsonencode({
      KafkaConnect = ["arn:aws:kafka:eu-west-1:123456789012:cluster/events/4d1f-1"]
      KafkaRead    = ["arn:aws:kafka:eu-west-1:123456789012:topic/events/4d1f-1/user-events"]
      KafkaGroup   = ["arn:aws:kafka:eu-west-1:123456789012:group/events/4d1f-1/tidemill"]
    })
    error_message = "one cluster, one topic, one group"
  }

  assert {
    condition = jsonencode([
      for statement in jsondecode(aws_iam_role_policy.task.policy).Statement : [sort(statement.Action), statement.Resource] if statement.Effect == "Deny"
      ]) == jsonencode([
      [["s3:DeleteObject", "s3:DeleteObjectVersion"], ["arn:aws:s3:::user-events-processed/_tidemill/*/log/*"]],
      [["s3:PutObject"], ["arn:aws:s3:::user-events-processed/_tidemill/*/log/*"]],
    ])
    error_message = "the commit log is never deleted and never overwritten"
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.task.policy).Statement :
      strcontains(join(" ", statement.Resource), "user-events-transforms") ? length(setsubtract(statement.Action, ["s3:GetObject", "s3:ListBucket"])) == 0 : true
    ])
    error_message = "a host reads its transforms and cannot write them"
  }

  assert {
    condition = jsonencode([
      for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : statement.Sid if contains(statement.Resource, "*")
    ]) == jsonencode(["Registry"])
    error_message = "ECS may pull one image and write one log; logging in to the registry knows no narrower right"
  }

  # --- the container ----------------------------------------------------------------------------------------------

  assert {
    condition = (
      length(jsondecode(aws_ecs_task_definition.this.container_definitions)) == 1 &&
      jsondecode(aws_ecs_task_definition.this.container_definitions)[0].readonlyRootFilesystem &&
      jsondecode(aws_ecs_task_definition.this.container_definitions)[0].linuxParameters.capabilities.drop[0] == "ALL" &&
      jsondecode(aws_ecs_task_definition.this.container_definitions)[0].healthCheck.command[2] == "health" &&
      jsondecode(aws_ecs_task_definition.this.container_definitions)[0].stopTimeout >= 10
    )
    error_message = "a file system that is read-only, no capabilities, a health check without a shell, and time to commit once more"
  }

  assert {
    condition = jsonencode({
      for variable in jsondecode(aws_ecs_task_definition.this.container_definitions)[0].environment : variable.name => variable.value
      }) == jsonencode({
      AWS_REGION               = "eu-west-1"
      TIDEMILL_AUTH            = "msk-iam"
      TIDEMILL_BROKERS         = "b-1.example.com:9098"
      TIDEMILL_CACHE           = ""
      TIDEMILL_CATALOG         = "glue"
      TIDEMILL_COMMIT_INTERVAL = "5s"
      TIDEMILL_DATABASE        = "user_analytics_db"
      TIDEMILL_GROUP           = "tidemill"
      TIDEMILL_LIBRDKAFKA      = "session.timeout.ms=10000"
      TIDEMILL_LOG_FORMAT      = "json"
      TIDEMILL_MEMORY          = "256MiB"
      TIDEMILL_PROCESSED       = "s3://user-events-processed"
      TIDEMILL_PULSE           = "30s"
      TIDEMILL_RAW             = "s3://user-events-raw"
      TIDEMILL_TOPIC           = "user-events"
      TIDEMILL_TRANSFORMS      = "s3://user-events-transforms/transforms"
    })
    error_message = "the host's settings"
  }

  # --- the service ------------------------------------------------------------------------------------------------

  assert {
    condition = (
      aws_ecs_service.this.deployment_minimum_healthy_percent == 100 &&
      aws_ecs_service.this.deployment_circuit_breaker[0].enable && aws_ecs_service.this.deployment_circuit_breaker[0].rollback &&
      aws_ecs_service.this.enable_execute_command == false && aws_ecs_service.this.network_configuration[0].assign_public_ip == false
    )
    error_message = "deployments roll, and roll back by themselves"
  }

  assert {
    condition     = aws_appautoscaling_target.this.min_capacity == 2 && aws_appautoscaling_target.this.max_capacity == 3
    error_message = "two hosts at least, and no more than partitions"
  }

  assert {
    condition = (
      aws_appautoscaling_policy.lag.target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].metric_name == "Lag" &&
      aws_appautoscaling_policy.lag.target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].statistic == "Average"
    )
    error_message = "hosts are added when each has too much left to commit"
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.retention_in_days == 90
    error_message = "logs are kept for 90 days"
  }

  # --- alarms -----------------------------------------------------------------------------------------------------

  assert {
    condition     = jsonencode(sort(concat([for alarm in aws_cloudwatch_metric_alarm.this : alarm.alarm_name], [aws_cloudwatch_metric_alarm.rejects.alarm_name]))) == jsonencode(["tidemill-commits", "tidemill-freshness", "tidemill-lag", "tidemill-ready", "tidemill-rejects", "tidemill-silent"])
    error_message = "freshness, lag, reject rate, no commits, not ready, and nobody there"
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : contains(keys(aws_cloudwatch_log_metric_filter.this), alarm.metric_name) && aws_cloudwatch_log_metric_filter.this[alarm.metric_name].metric_transformation[0].namespace == alarm.namespace])
    error_message = "an alarm on a metric that nobody makes never fires"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["silent"].treat_missing_data == "breaching"
    error_message = "hosts that say nothing are an alarm"
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : length(alarm.alarm_actions) == 0]) && length(aws_sns_topic.this) == 0
    error_message = "without an address nobody is told"
  }
}

run "all_that_can_be_given" {
  command = plan

  module {
    source = "./modules/runtime"
  }

  variables {
    kafka           = { brokers = "k:9096", ports = ["9096"] }
    raw             = "s3://lake/raw"
    processed       = "s3://lake/processed"
    transforms      = null
    partitions      = 12
    hosts           = { min = 3, max = 6, lag_of_each = 5000 }
    cpu             = 2048
    memory_mib      = 4096
    commit_interval = "1s"
    logs            = 16
    librdkafka      = { "security.protocol" = "SASL_SSL" }
    environment     = { TIDEMILL_COMMIT_INTERVAL = "2s" }
    secrets         = { TIDEMILL_OTLP = "arn:aws:ssm:eu-west-1:123456789012:parameter/tidemill/otlp" }
    http            = { token_arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:token-a1b2c3:key::", cidrs = ["10.0.0.0/16"] }
    trusted         = { digests = ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"] }
    kms_key_arns    = ["arn:aws:kms:eu-west-1:123456789012:key/4d1f"]
    alarms          = { emails = ["ops@example.com"], lag = 5 }
    cluster_arn     = "arn:aws:ecs:eu-west-1:123456789012:cluster/shared"
  }

  assert {
    condition = alltrue([
      for name, value in {
        TIDEMILL_COMMIT_INTERVAL = "2s"
        TIDEMILL_HTTP            = "0.0.0.0:8080"
        TIDEMILL_LIBRDKAFKA      = "security.protocol=SASL_SSL,session.timeout.ms=10000"
        TIDEMILL_LOGS            = "16"
        TIDEMILL_MEMORY          = "1024MiB"
        TIDEMILL_TRUSTED_DIGESTS = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
      } : anytrue([for variable in jsondecode(aws_ecs_task_definition.this.container_definitions)[0].environment : variable.name == name && variable.value == value])
    ])
    error_message = "what is given goes before what is set"
  }

  assert {
    condition     = !anytrue([for variable in jsondecode(aws_ecs_task_definition.this.container_definitions)[0].environment : contains(["TIDEMILL_TRANSFORMS", "TIDEMILL_TRUSTED_KEYS", "TIDEMILL_HTTP_TOKEN"], variable.name)])
    error_message = "what is not given is not there, and secrets do not stand in the definition"
  }

  assert {
    condition = jsonencode({
      for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : statement.Sid => statement.Resource if startswith(statement.Sid, "Secrets")
      }) == jsonencode({
      SecretsSecretsmanager = ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:token-a1b2c3"]
      SecretsSsm            = ["arn:aws:ssm:eu-west-1:123456789012:parameter/tidemill/otlp"]
    })
    error_message = "ECS may read these secrets and no others"
  }

  assert {
    condition = jsonencode([
      for statement in jsondecode(aws_iam_role_policy.task.policy).Statement : [statement.Resource, statement.Condition.StringLike["s3:prefix"]] if startswith(statement.Sid, "List")
      ]) == jsonencode([
      [["arn:aws:s3:::lake"], ["processed", "processed/*"]],
      [["arn:aws:s3:::lake"], ["raw", "raw/*"]],
    ])
    error_message = "in a bucket with other things a host sees its own prefix"
  }

  assert {
    condition     = !anytrue([for statement in jsondecode(aws_iam_role_policy.task.policy).Statement : startswith(statement.Sid, "Kafka") || statement.Sid == "Transforms"])
    error_message = "no rights on what is not used"
  }

  assert {
    condition     = aws_appautoscaling_target.this.resource_id == "service/shared/tidemill" && aws_appautoscaling_target.this.max_capacity == 6 && length(aws_ecs_cluster.this) == 0
    error_message = "in the cluster that is there"
  }

  assert {
    condition     = jsonencode([for rule in aws_vpc_security_group_ingress_rule.http : "${rule.cidr_ipv4} ${rule.from_port}"]) == jsonencode(["10.0.0.0/16 8080"]) && contains(keys(aws_vpc_security_group_egress_rule.kafka), "9096")
    error_message = "who may come in, and where hosts may go"
  }

  assert {
    condition     = length(aws_sns_topic.this) == 1 && jsonencode([for subscription in aws_sns_topic_subscription.this : subscription.endpoint]) == jsonencode(["ops@example.com"])
    error_message = "who is told"
  }
}

run "latest_is_no_version" {
  command = plan

  module {
    source = "./modules/runtime"
  }

  variables {
    image = "tidemill:latest"
  }

  expect_failures = [var.image]
}

run "sizes_that_fargate_has" {
  command = plan

  module {
    source = "./modules/runtime"
  }

  variables {
    cpu        = 512
    memory_mib = 8192
  }

  expect_failures = [var.memory_mib]
}

run "a_comma_would_divide_it" {
  command = plan

  module {
    source = "./modules/runtime"
  }

  variables {
    librdkafka = { "debug" = "broker,topic" }
  }

  expect_failures = [var.librdkafka]
}

run "no_password_in_the_definition" {
  command = plan

  module {
    source = "./modules/runtime"
  }

  variables {
    librdkafka  = { "sasl.password" = "made-up" }
    environment = { TIDEMILL_HTTP_TOKEN = "made-up" }
  }

  expect_failures = [var.librdkafka, var.environment]
}

run "not_to_everybody" {
  command = plan

  module {
    source = "./modules/runtime"
  }

  variables {
    http = { token_arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:t", cidrs = ["0.0.0.0/0"] }
  }

  expect_failures = [var.http]
}

run "no_pattern_in_a_zone" {
  command = plan

  module {
    source = "./modules/runtime"
  }

  variables {
    raw       = "s3://lake/*"
    processed = "s3://lake/processed/"
  }

  expect_failures = [var.raw, var.processed]
}

run "fewer_than_none" {
  command = plan

  module {
    source = "./modules/runtime"
  }

  variables {
    hosts   = { min = 4, max = 2 }
    trusted = { digests = ["abc"] }
    alarms  = { freshness_seconds = 0 }
  }

  expect_failures = [var.hosts, var.trusted, var.alarms]
}

run "logs_for_as_long_as_cloudwatch_knows" {
  command = plan

  module {
    source = "./modules/runtime"
  }

  variables {
    log_retention_days = 100
  }

  expect_failures = [var.log_retention_days]
}
