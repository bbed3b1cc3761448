# A cluster that asks for IAM and nothing else, so that there is no password to keep; or none, for who has one.
# The topic itself is nobody's here: the AWS provider has no topics. docs/deployment.md says how to make it.

locals {
  made = var.mode != "existing"
  # 9098: MSK, IAM, from inside the VPC.
  ports = local.made ? tolist(["9098"]) : distinct([for broker in var.existing.brokers : split(":", broker)[1]])
  # The replicas of each partition, and how many of them must have an event before it counts.
  replicas = min(3, length(var.subnet_ids))
}

resource "aws_security_group" "this" {
  count = local.made ? 1 : 0

  name_prefix = "${var.name}-kafka-"
  description = "Brokers of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-kafka" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_msk_serverless_cluster" "this" {
  count = var.mode == "serverless" ? 1 : 0

  cluster_name = var.name
  tags         = var.tags

  vpc_config {
    subnet_ids         = var.subnet_ids
    security_group_ids = [aws_security_group.this[0].id]
  }

  client_authentication {
    sasl {
      iam {
        enabled = true
      }
    }
  }
}

resource "aws_msk_configuration" "this" {
  count = var.mode == "provisioned" ? 1 : 0

  name           = var.name
  description    = "Brokers of ${var.name}"
  kafka_versions = [var.provisioned.kafka_version]

  server_properties = join("\n", [
    "auto.create.topics.enable=true",
    "num.partitions=${var.partitions}",
    "default.replication.factor=${local.replicas}",
    "min.insync.replicas=${max(1, local.replicas - 1)}",
    # Not in hours alone: for ever is -1.
    "log.retention.ms=${var.retention_days == null ? -1 : var.retention_days * 24 * 3600 * 1000}",
  ])

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_msk_cluster" "this" {
  count = var.mode == "provisioned" ? 1 : 0

  cluster_name           = var.name
  kafka_version          = var.provisioned.kafka_version
  number_of_broker_nodes = coalesce(var.provisioned.brokers, length(var.subnet_ids))
  tags                   = var.tags

  broker_node_group_info {
    client_subnets  = var.subnet_ids
    instance_type   = var.provisioned.instance_type
    security_groups = [aws_security_group.this[0].id]

    storage_info {
      ebs_storage_info {
        volume_size = var.provisioned.storage_gib
      }
    }
  }

  client_authentication {
    sasl {
      iam = true
    }
  }

  configuration_info {
    arn      = aws_msk_configuration.this[0].arn
    revision = aws_msk_configuration.this[0].latest_revision
  }

  encryption_info {
    encryption_at_rest_kms_key_arn = var.kms_key_arn

    encryption_in_transit {
      client_broker = "TLS"
      in_cluster    = true
    }
  }
}
