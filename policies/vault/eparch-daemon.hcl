# Eparch itself, logged in by AppRole: runs' tokens, whatever happens to them later, and the secrets below the mount.

# A run's token is no child of this one: it outlives a restart.
path "auth/token/create/eparch-run" {
  capabilities = ["create", "update"]
}

path "auth/token/lookup" {
  capabilities = ["create", "update"]
}

path "auth/token/lookup-accessor" {
  capabilities = ["create", "update"]
}

path "auth/token/renew-accessor" {
  capabilities = ["create", "update"]
}

path "auth/token/revoke-accessor" {
  capabilities = ["create", "update"]
}

path "auth/token/renew-self" {
  capabilities = ["create", "update"]
}

# What a crash left is found here; servers ask for sudo, since it shows accessors of everybody.
path "auth/token/accessors" {
  capabilities = ["list", "sudo"]
}

path "auth/token/accessors/" {
  capabilities = ["list", "sudo"]
}

path "secret/data/*" {
  capabilities = ["create", "read", "update"]
}

path "secret/metadata/*" {
  capabilities = ["list", "delete"]
}

path "secret/metadata" {
  capabilities = ["list"]
}
