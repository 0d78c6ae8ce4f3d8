# T2, builder: an operator's, and what is shared or for staging; read wrapped only, so that a theft on the way is noticed.

path "secret/data/inventory/*" {
  capabilities = ["read"]
}

path "secret/data/agents/*" {
  capabilities = ["read"]
}

path "secret/data/shared/*" {
  capabilities = ["read"]
  min_wrapping_ttl = "1s"
  max_wrapping_ttl = "300s"
}

path "secret/data/staging/*" {
  capabilities = ["read"]
  min_wrapping_ttl = "1s"
  max_wrapping_ttl = "300s"
}
