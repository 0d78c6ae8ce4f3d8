# T0, observer: the inventory, and what belongs to the agent itself. Which of the agents' places is its own, Eparch checks.

path "secret/data/inventory/*" {
  capabilities = ["read"]
}

path "secret/data/agents/*" {
  capabilities = ["read"]
}
