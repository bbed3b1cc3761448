# All modules together: what one makes is what the other is given.

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
  image      = "tidemill:0.1.0"
  vpc_id     = "vpc-1"
  subnet_ids = ["subnet-1", "subnet-2"]
}

run "reference" {
  command = plan

  variables {
    kafka = { existing = { brokers = ["b:9092"] } }
  }

  assert {
    condition = alltrue([
      for name, value in {
        TIDEMILL_BROKERS    = "b:9092"
        TIDEMILL_TOPIC      = "user-events"
        TIDEMILL_RAW        = "s3://user-events-raw"
        TIDEMILL_PROCESSED  = "s3://user-events-processed"
        TIDEMILL_TRANSFORMS = "s3://user-events-transforms/transforms"
        TIDEMILL_DATABASE   = "user_analytics_db"
      } : output.environment[name] == value
    ])
    error_message = "the names of the reference deployment"
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.kafka) == 0
    error_message = "brokers whose group is not known are opened by whoever has them"
  }
}

run "serverless" {
  command = plan

  override_resource {
    target          = module.kafka.aws_msk_serverless_cluster.this
    override_during = plan
    values = {
      arn                        = "arn:aws:kafka:eu-west-1:123456789012:cluster/tidemill/4d1f-1"
      bootstrap_brokers_sasl_iam = "boot-1.example.com:9098"
    }
  }

  variables {
    kafka = { mode = "serverless", topic = "Click.Stream" }
  }

  assert {
    condition     = jsonencode(keys(aws_vpc_security_group_ingress_rule.kafka)) == jsonencode(["9098"])
    error_message = "the brokers must let the hosts in"
  }

  assert {
    condition     = output.environment.TIDEMILL_AUTH == "msk-iam" && output.environment.TIDEMILL_BROKERS == "boot-1.example.com:9098"
    error_message = "MSK Serverless knows IAM only"
  }

  assert {
    condition     = local.raw_table == "click_stream_raw"
    error_message = "the raw table is named after the topic"
  }
}

# Rule F6 of the commit protocol: who lengthens the topic's retention lengthens the life of uploads.
run "kafka_that_keeps_events_longer" {
  command = plan

  variables {
    kafka = { existing = { brokers = ["b:9092"] }, retention_days = 30 }
  }

  assert {
    condition     = module.lake.abort_uploads_days == 31
    error_message = "uploads must live longer than Kafka's retention"
  }
}
