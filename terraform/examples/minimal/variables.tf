variable "region" {
  description = "Region to deploy to."
  type        = string
  default     = "eu-west-1"
}

variable "prefix" {
  description = "What the buckets' names begin with."
  type        = string
}

variable "image" {
  description = "Image of the host, with a tag or a digest."
  type        = string
}

variable "brokers" {
  description = "Brokers of your Kafka, `host:port`. The topic `user-events` must be there, with 3 partitions."
  type        = list(string)
}

variable "wait" {
  description = "End when the host is healthy, and not before."
  type        = bool
  default     = true
}
