# Hosts call; nobody calls them, unless `http` lets somebody.

resource "aws_security_group" "this" {
  name_prefix = "${var.name}-"
  description = "Hosts of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = var.name })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "https" {
  security_group_id = aws_security_group.this.id
  description       = "S3, Glue, CloudWatch Logs, and the image"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  tags              = var.tags
}

resource "aws_vpc_security_group_egress_rule" "kafka" {
  for_each = toset(var.kafka.ports)

  security_group_id = aws_security_group.this.id
  description       = "Kafka"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = tonumber(each.value)
  to_port           = tonumber(each.value)
  tags              = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "http" {
  for_each = toset(var.http == null ? [] : var.http.cidrs)

  security_group_id = aws_security_group.this.id
  description       = "Dashboard and metrics"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 8080
  to_port           = 8080
  tags              = var.tags
}
