variable "region" {
  description = "Region to deploy to."
  type        = string
  default     = "eu-west-1"
}

variable "name" {
  description = "Name of the deployment."
  type        = string
  default     = "tidemill"
}

variable "prefix" {
  description = "What the buckets' names begin with: they are one space for the whole world."
  type        = string
}

variable "image" {
  description = "Image of the host in ECR, with a tag or a digest."
  type        = string
}

variable "cidr" {
  description = "Addresses of the VPC."
  type        = string
  default     = "10.42.0.0/16"
}

variable "brokers" {
  description = "Brokers of your Kafka, `host:port`, reachable from the VPC; null makes MSK Serverless."
  type        = list(string)
  default     = null
}

variable "topic" {
  description = "Topic to read."
  type        = string
  default     = "user-events"
}

variable "partitions" {
  description = "Partitions of the topic."
  type        = number
  default     = 3
}

variable "trusted_keys" {
  description = "Public ed25519 keys: only components that are signed with one of them are taken. None: any."
  type        = list(string)
  default     = []
}

variable "dashboard" {
  description = "Serve the hosts' own dashboard and metrics within the VPC, behind a token."
  type        = bool
  default     = false
}

variable "emails" {
  description = "Who gets a mail when an alarm fires. Each must confirm once."
  type        = set(string)
  default     = []
}

variable "force_destroy" {
  description = "Let `terraform destroy` delete the lake with its data."
  type        = bool
  default     = false
}

variable "wait" {
  description = "End when the hosts are healthy, and not before."
  type        = bool
  default     = true
}
