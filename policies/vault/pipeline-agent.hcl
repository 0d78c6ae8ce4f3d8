# A run's own token: it issues its agents' tokens, each through the role of its tier, and reads nothing. Eparch keeps it and
# never hands it out.

path "auth/token/create/eparch-t0" {
  capabilities = ["create", "update"]
}

path "auth/token/create/eparch-t1" {
  capabilities = ["create", "update"]
}

path "auth/token/create/eparch-t2" {
  capabilities = ["create", "update"]
}

path "auth/token/create/eparch-t3" {
  capabilities = ["create", "update"]
}

path "auth/token/create/eparch-t4" {
  capabilities = ["create", "update"]
}
