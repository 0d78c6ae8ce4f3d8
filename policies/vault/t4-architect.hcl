# T4, architect: a steward's. Nobody's tier reads the keys of the services that Eparch itself uses.

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
