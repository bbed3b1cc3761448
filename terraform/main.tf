# The reference deployment: a topic, two zones on S3, a Glue database, and the hosts between them.

locals {
  # The raw table is named after the topic.
  raw_table = "${lower(replace(var.kafka.topic, "/[^a-zA-Z0-9]/", "_"))}_raw"
}

module "lake" {
  source = "./modules/lake"

  raw_bucket           = var.lake.raw_bucket
  processed_bucket     = var.lake.processed_bucket
  transforms_bucket    = var.lake.transforms_bucket
  raw_tables           = [local.raw_table]
  processed_tables     = var.lake.processed_tables
  retention_days       = var.lake.retention_days
  expire_days          = var.lake.expire_days
  kafka_retention_days = var.kafka.retention_days
  abort_uploads_days   = var.lake.abort_uploads_days
  versioning           = var.lake.versioning
  kms_key_arn          = var.lake.kms_key_arn
  force_destroy        = var.lake.force_destroy
  tags                 = var.tags
}

module "catalog" {
  source = "./modules/catalog"

  database = var.catalog.database
  athena   = var.catalog.athena
  tags     = var.tags
}

module "kafka" {
  source = "./modules/kafka"

  mode           = var.kafka.mode
  name           = var.name
  existing       = var.kafka.existing
  provisioned    = var.kafka.provisioned
  partitions     = var.kafka.partitions
  retention_days = var.kafka.retention_days
  vpc_id         = var.kafka.mode == "existing" ? null : var.vpc_id
  subnet_ids     = var.kafka.mode == "existing" ? [] : var.subnet_ids
  tags           = var.tags
}

module "runtime" {
  source = "./modules/runtime"

  name         = var.name
  image        = var.image
  architecture = var.hosts.architecture
  cpu          = var.hosts.cpu
  memory_mib   = var.hosts.memory_mib
  partitions   = var.kafka.partitions

  hosts = {
    min         = var.hosts.min
    max         = var.hosts.max
    lag_of_each = var.hosts.lag_of_each
  }

  kafka = {
    brokers     = module.kafka.brokers
    ports       = module.kafka.ports
    auth        = module.kafka.auth
    cluster_arn = module.kafka.cluster_arn
  }

  topic           = var.kafka.topic
  group           = var.group
  raw             = module.lake.raw_url
  processed       = module.lake.processed_url
  transforms      = module.lake.transforms_url
  trusted         = var.trusted
  database        = module.catalog.database
  commit_interval = var.settings.commit_interval
  logs            = var.settings.logs
  librdkafka      = var.settings.librdkafka
  environment     = var.settings.environment
  secrets         = var.settings.secrets
  http            = var.http

  vpc_id           = var.vpc_id
  subnet_ids       = var.subnet_ids
  assign_public_ip = var.hosts.assign_public_ip
  cluster_arn      = var.cluster_arn
  kms_key_arns     = var.lake.kms_key_arn == null ? [] : [var.lake.kms_key_arn]

  log_retention_days = var.log_retention_days
  alarms             = var.alarms
  wait               = var.wait
  tags               = var.tags
}

# Hosts and brokers know each other here only: the one needs the other's address, the other the one's group.
resource "aws_vpc_security_group_ingress_rule" "kafka" {
  for_each = var.kafka.mode != "existing" || try(var.kafka.existing.security_group_id, null) != null ? toset(module.kafka.ports) : []

  security_group_id            = module.kafka.security_group_id
  description                  = "Hosts of ${var.name}"
  referenced_security_group_id = module.runtime.security_group_id
  ip_protocol                  = "tcp"
  from_port                    = tonumber(each.value)
  to_port                      = tonumber(each.value)
  tags                         = var.tags
}
