# T3, steward: a builder's, and what is for production; read wrapped only.

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

path "secret/data/production/*" {
  capabilities = ["read"]
  min_wrapping_ttl = "1s"
  max_wrapping_ttl = "300s"
}
