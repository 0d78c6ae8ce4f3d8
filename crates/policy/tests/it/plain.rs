//! The same questions put to Cedar as anybody would put them: every group, every attribute, every policy, as JSON that the
//! schema is compared with. Shares no code with how the crate builds its requests.

use cedar_policy::{Authorizer, Context, Entities, PolicySet, Request, Response, Schema};
use eparch_domain::Tier;
use eparch_policy::{Owner, ResourceKind, Subject};
use serde_json::{Value, json};

/// A request as Cedar takes it.
pub(crate) struct Plain {
    request: Request,
    entities: Entities,
}

pub(crate) fn schema() -> Schema {
    Schema::from_cedarschema_str(eparch_policy::SCHEMA).expect("a schema").0
}

impl Plain {
    pub(crate) fn new(request: &eparch_policy::Request, schema: &Schema) -> Plain {
        let (subject, mut subject_parents, subject_attributes) = subject(&request.subject);
        let (resource, mut parents, attributes) = resource(request);
        parents.extend(scopes(request).iter().map(|scope| uid("Scope", scope)));
        subject_parents.dedup();
        let entities = json!([
            { "uid": subject, "parents": subject_parents, "attrs": subject_attributes },
            { "uid": resource, "parents": parents, "attrs": attributes },
        ]);
        let entities = Entities::from_json_str(&entities.to_string(), Some(schema));
        let entities = entities.unwrap_or_else(|problem| panic!("{request:?}: {problem:?}"));
        let now = &request.circumstances;
        let history: Vec<&str> = now.history.facts().collect();
        let mut context = json!({
            "phase": { "__entity": uid("Phase", now.phase.as_str()) },
            "planned": now.planned,
            "approvals": now.approvals,
            "outside": now.outside,
            "history": history,
            "spent_tokens": now.spent_tokens,
            // Cedar's numbers end there.
            "spent_microdollars": now.spent_microdollars.min(i64::MAX.unsigned_abs()),
        });
        if let Some(requester) = &now.requester {
            context["requester"] = json!(requester.as_str());
        }
        let action = uid("Action", request.action.as_str());
        let cedar = |uid: Value| cedar_policy::EntityUid::from_json(uid).expect("a name");
        let action = cedar(action);
        let context = Context::from_json_value(context, Some((schema, &action))).expect("a context");
        let request = Request::new(cedar(subject), action, cedar(resource), context, Some(schema));
        Plain { request: request.expect("a request that fits the schema"), entities }
    }

    pub(crate) fn ask(&self, policies: &PolicySet) -> Response {
        Authorizer::new().is_authorized(&self.request, policies, &self.entities)
    }
}

fn uid(kind: &str, id: &str) -> Value {
    json!({ "type": kind, "id": id })
}

fn entity(kind: &str, id: &str) -> Value {
    json!({ "__entity": uid(kind, id) })
}

fn tiers(up_to: Tier) -> Vec<Value> {
    Tier::ALL.iter().filter(|tier| **tier <= up_to).map(|tier| uid("Tier", &tier.to_string())).collect()
}

fn subject(subject: &Subject) -> (Value, Vec<Value>, Value) {
    match subject {
        Subject::Anonymous => panic!("nobody is never asked about"),
        Subject::Agent(agent) => {
            let id = agent.id.to_string();
            let mut parents = tiers(agent.tier);
            parents.push(uid("Tenant", agent.tenant.as_str()));
            parents.push(uid("Project", agent.project.as_str()));
            parents.push(uid("Run", &agent.run.to_string()));
            parents.extend(agent.template.as_ref().map(|template| uid("MadeFrom", template.as_str())));
            parents.extend(agent.seat.map(|seat| uid("Seat", seat.as_str())));
            let attributes = json!({
                "name": id,
                "tier": entity("Tier", &agent.tier.to_string()),
                "level": agent.tier.number(),
                "tenant": entity("Tenant", agent.tenant.as_str()),
                "project": entity("Project", agent.project.as_str()),
                "run": entity("Run", &agent.run.to_string()),
            });
            (uid("Agent", &id), parents, attributes)
        }
        Subject::Operator(operator) => {
            let mut parents =
                vec![uid("Tenant", operator.tenant.as_str()), uid("Role", operator.role.as_str())];
            parents.extend(operator.groups.iter().map(|group| uid("Group", group.as_str())));
            let attributes = json!({
                "name": operator.name.as_str(),
                "role": entity("Role", operator.role.as_str()),
                "max_level": operator.max_tier.number(),
                "tenant": entity("Tenant", operator.tenant.as_str()),
            });
            (uid("Operator", operator.name.as_str()), parents, attributes)
        }
    }
}

fn resource(request: &eparch_policy::Request) -> (Value, Vec<Value>, Value) {
    let resource = &request.resource;
    let kind = format!("{:?}", resource.kind());
    let mut parents = vec![uid("Tenant", resource.tenant().as_str())];
    let mut attributes =
        json!({ "name": resource.name(), "tenant": entity("Tenant", resource.tenant().as_str()) });
    if let Owner::Run { project, .. } | Owner::Project { project } = resource.owner() {
        parents.push(uid("Project", project.as_str()));
        attributes["project"] = entity("Project", project.as_str());
    }
    if let Owner::Run { run, .. } = resource.owner() {
        parents.push(uid("Run", &run.to_string()));
        attributes["run"] = entity("Run", &run.to_string());
    }
    if let Some(tier) = resource.tier() {
        parents.extend(tiers(tier));
        attributes["tier"] = entity("Tier", &tier.to_string());
        attributes["level"] = json!(tier.number());
    }
    parents.extend(groups(resource.kind(), resource.name()).iter().map(|group| uid(&kind, group)));
    (uid(&kind, resource.name()), parents, attributes)
}

/// What a name lies in, found by trying every beginning.
fn groups(kind: ResourceKind, name: &str) -> Vec<String> {
    let mut groups = Vec::new();
    for (at, letter) in name.char_indices() {
        match kind {
            ResourceKind::Host if letter == '-' => groups.push(format!("{}-*", &name[..at])),
            ResourceKind::Path
            | ResourceKind::Secret
            | ResourceKind::Tool
            | ResourceKind::Model
            | ResourceKind::Template
            | ResourceKind::Lock
                if letter == '/' && name != "/" =>
            {
                groups.push(if at == 0 { "/".to_owned() } else { name[..at].to_owned() });
            }
            _ => {}
        }
    }
    groups
}

fn scopes(request: &eparch_policy::Request) -> Vec<&'static str> {
    let (project, run) = match &request.subject {
        Subject::Agent(agent) => (Some(&agent.project), Some(agent.run)),
        _ => (None, None),
    };
    match request.resource.owner() {
        Owner::Governance => vec!["governance"],
        Owner::Tenant => vec!["project", "tenant"],
        Owner::Project { project: of } if project == Some(of) => vec!["project", "tenant"],
        Owner::Run { project: of, run: theirs } if project == Some(of) && run == Some(*theirs) => {
            vec!["own", "project", "tenant"]
        }
        Owner::Run { project: of, .. } if project == Some(of) => vec!["project", "tenant"],
        _ => vec!["tenant"],
    }
}
