# Where events come from. moto knows no brokers of MSK (GetBootstrapBrokers), so a cluster is planned here and never
# applied in the tests.

mock_provider "aws" {}

run "existing" {
  command = plan

  module {
    source = "./modules/kafka"
  }

  variables {
    existing = { brokers = ["b-1.example.com:9096", "b-2.example.com:9096"] }
  }

  assert {
    condition     = output.brokers == "b-1.example.com:9096,b-2.example.com:9096" && output.auth == "properties" && output.ports == tolist(["9096"])
    error_message = "brokers that are there already are taken as they are"
  }

  assert {
    condition     = length(aws_msk_serverless_cluster.this) + length(aws_msk_cluster.this) + length(aws_security_group.this) == 0
    error_message = "nothing is to be made"
  }
}

run "serverless" {
  command = plan

  module {
    source = "./modules/kafka"
  }

  variables {
    mode       = "serverless"
    name       = "events"
    vpc_id     = "vpc-1"
    subnet_ids = ["subnet-1", "subnet-2"]
  }

  assert {
    condition     = aws_msk_serverless_cluster.this[0].cluster_name == "events" && aws_msk_serverless_cluster.this[0].client_authentication[0].sasl[0].iam[0].enabled && output.auth == "msk-iam"
    error_message = "who reads must show an AWS identity"
  }

  assert {
    condition     = length(aws_msk_cluster.this) == 0 && output.ports == tolist(["9098"])
    error_message = "one cluster, on the port of IAM"
  }
}

run "provisioned" {
  command = plan

  module {
    source = "./modules/kafka"
  }

  variables {
    mode           = "provisioned"
    vpc_id         = "vpc-1"
    subnet_ids     = ["subnet-1", "subnet-2", "subnet-3"]
    partitions     = 6
    retention_days = null
  }

  assert {
    condition     = aws_msk_cluster.this[0].number_of_broker_nodes == 3 && aws_msk_cluster.this[0].client_authentication[0].sasl[0].iam && aws_msk_cluster.this[0].encryption_info[0].encryption_in_transit[0].client_broker == "TLS"
    error_message = "a broker in each subnet, TLS and IAM"
  }

  assert {
    condition = alltrue([
      for line in ["num.partitions=6", "log.retention.ms=-1", "default.replication.factor=3", "min.insync.replicas=2"] :
      contains(split("\n", aws_msk_configuration.this[0].server_properties), line)
    ])
    error_message = "partitions, retention and replicas must be those that were asked for"
  }
}

run "a_cluster_needs_a_place" {
  command = plan

  module {
    source = "./modules/kafka"
  }

  variables {
    mode = "serverless"
  }

  expect_failures = [var.vpc_id, var.subnet_ids]
}

run "existing_needs_brokers" {
  command = plan

  module {
    source = "./modules/kafka"
  }

  variables {
    existing = { brokers = ["b-1.example.com"] }
  }

  expect_failures = [var.existing]
}

run "iam_needs_the_cluster" {
  command = plan

  module {
    source = "./modules/kafka"
  }

  variables {
    existing = { brokers = ["b-1.example.com:9098"], auth = "msk-iam" }
  }

  expect_failures = [var.existing]
}

run "uneven_brokers" {
  command = plan

  module {
    source = "./modules/kafka"
  }

  variables {
    mode        = "provisioned"
    vpc_id      = "vpc-1"
    subnet_ids  = ["subnet-1", "subnet-2", "subnet-3"]
    provisioned = { brokers = 4 }
  }

  expect_failures = [var.provisioned]
}

run "no_such_mode" {
  command = plan

  module {
    source = "./modules/kafka"
  }

  variables {
    mode = "kinesis"
  }

  expect_failures = [var.mode]
}
