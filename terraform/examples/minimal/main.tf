# The least: brokers that are there already, the account's default VPC, one host.

provider "aws" {
  region = var.region
}

data "aws_vpc" "default" {
  default = true
}

data "aws_subnets" "default" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.default.id]
  }
}

module "tidemill" {
  source = "../.."

  image      = var.image
  vpc_id     = data.aws_vpc.default.id
  subnet_ids = data.aws_subnets.default.ids

  kafka = {
    existing = { brokers = var.brokers }
  }

  # Names of buckets are one space for the whole world.
  lake = {
    raw_bucket        = "${var.prefix}-user-events-raw"
    processed_bucket  = "${var.prefix}-user-events-processed"
    transforms_bucket = "${var.prefix}-user-events-transforms"
  }

  # Subnets of a default VPC are public: without an address a host there reaches nothing.
  hosts = { min = 1, assign_public_ip = true }
  wait  = var.wait
}
