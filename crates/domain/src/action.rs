//! What somebody may ask to do.

use crate::wire::wire_enum;

wire_enum! {
    /// Something that policy decides on (reliability.md, F8). An action is what somebody asks to do to something that has a
    /// name; what follows from it is the business of whoever performs it.
    Action ("action") {
        /// Ask a language model.
        LlmChat = "llm_chat",
        /// Call a tool of a tool server.
        CallTool = "call_tool",
        /// Read a file.
        ReadFile = "read_file",
        /// List a folder.
        ListDirectory = "list_directory",
        /// Search a tree of files.
        SearchCode = "search_code",
        /// Write down what is to be done.
        GeneratePlan = "generate_plan",
        /// Ask for somebody to look at it.
        RequestReview = "request_review",
        /// Run a command on a host.
        ExecuteCommand = "execute_command",
        /// Write a file.
        WriteFile = "write_file",
        /// Run Ansible without changing anything.
        AnsibleCheck = "ansible_check",
        /// Run Ansible.
        AnsibleRun = "ansible_run",
        /// Work out what Terraform would change.
        TerraformPlan = "terraform_plan",
        /// Have Terraform change it.
        TerraformApply = "terraform_apply",
        /// Run a container on a host.
        DockerRun = "docker_run",
        /// Delete what is in production.
        DeleteProduction = "delete_production",
        /// Use the root of the vault.
        AccessVaultRoot = "access_vault_root",
        /// Change policy, tiers, budgets or the rules themselves.
        ModifyGovernance = "modify_governance",
        /// Start another agent, or a run.
        SpawnAgent = "spawn_agent",
        /// Take a lock.
        AcquireLock = "acquire_lock",
        /// Read a secret.
        ReadSecret = "read_secret",
        /// Answer a gate.
        Approve = "approve",
        /// Take an agent's or a run's authority away.
        Revoke = "revoke",
        /// Change an agent's standing.
        Promote = "promote",
        /// Publish an agent template for others.
        PublishTemplate = "publish_template",
        /// Read the record.
        ReadLedger = "read_ledger",
        /// Take what a run has, although its council did not agree.
        AcceptPartial = "accept_partial",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f8_there_are_twenty_six_actions_with_names_of_their_own() {
        assert_eq!(Action::ALL.len(), 26);
        for action in Action::ALL {
            assert_eq!(action.as_str().parse::<Action>().unwrap(), *action);
            assert_eq!(serde_json::to_string(action).unwrap(), format!("{:?}", action.as_str()));
        }
        assert!("Read_File".parse::<Action>().is_err());
    }
}
