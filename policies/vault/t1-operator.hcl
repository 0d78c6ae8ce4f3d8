# T1, operator: no secrets beyond those of an observer (1.8). Which of the agents' places is its own, Eparch checks.

path "secret/data/inventory/*" {
  capabilities = ["read"]
}

path "secret/data/agents/*" {
  capabilities = ["read"]
}
