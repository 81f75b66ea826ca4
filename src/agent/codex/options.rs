//! Models and modes: a mode is an approval policy, and both hold from the next turn on.

use serde_json::{Value, json};

use super::{
    Codex,
    state::{Call, Phase, asking},
};
use crate::{
    agent::{
        adapter::{Output, Unsupported},
        outputs::{LONGEST_ID, clip, update},
    },
    domain::PermissionPolicy,
};

/// The approval policies. In a sandbox that allows everything `on-request` leaves it to the model to ask.
const MODES: [(&str, &str, &str); 3] = [
    ("untrusted", "Ask", "Asks before every command and every change of a file"),
    ("on-request", "On request", "Asks where the model wants to be allowed something"),
    ("never", "Never ask", "Never asks"),
];

/// Their names.
pub(in crate::agent) fn modes() -> Vec<&'static str> {
    MODES.iter().map(|(id, ..)| *id).collect()
}

/// The most models that are told of.
const MOST_MODELS: usize = 64;

/// Whether there is such a mode.
pub(super) fn check_mode(mode: &str) -> Result<(), Unsupported> {
    if MODES.iter().any(|(id, ..)| *id == mode) {
        return Ok(());
    }
    let names = MODES.map(|(id, ..)| id).join(", ");
    Err(Unsupported(format!("Codex has no mode {:?}; it has {names}", clip(mode, LONGEST_ID))))
}

impl Codex {
    fn check_ready(&self) -> Result<(), Unsupported> {
        if matches!(self.state.phase, Phase::Starting | Phase::Dead) {
            return Err(Unsupported("the agent is not ready yet".to_owned()));
        }
        Ok(())
    }

    pub(super) fn choose_model(&mut self, model: &str) -> Result<Vec<Output>, Unsupported> {
        self.check_ready()?;
        if model.is_empty() || model.len() > LONGEST_ID {
            return Err(Unsupported("that can't be the name of a model".to_owned()));
        }
        self.state.model = Some(model.to_owned());
        self.state.changed = true;
        Ok(vec![self.ask_for_models()])
    }

    pub(super) fn choose_mode(&mut self, mode: &str) -> Result<Vec<Output>, Unsupported> {
        check_mode(mode)?;
        self.check_ready()?;
        self.state.mode_chosen = true;
        Ok(self.change_mode(mode))
    }

    /// Follows the session's policy, unless a client chose a mode; it holds from the next turn on.
    pub(super) fn follow(&mut self, permissions: PermissionPolicy) -> Vec<Output> {
        let mode = asking(permissions);
        if self.state.mode_chosen || self.state.mode == mode || self.check_ready().is_err() {
            return Vec::new();
        }
        self.change_mode(mode)
    }

    fn change_mode(&mut self, mode: &str) -> Vec<Output> {
        mode.clone_into(&mut self.state.mode);
        self.state.changed = true;
        let mut outputs: Vec<_> = self.tell_mode().into_iter().collect();
        outputs.push(self.ask_for_models());
        outputs
    }

    pub(super) fn tell_mode(&self) -> Option<Output> {
        update(&json!({"sessionUpdate": "current_mode_update", "currentModeId": self.state.mode}))
    }

    /// Asks for the models, whose answer is told as the options that there are. It is asked again at each change:
    /// that is cheaper than a state that carries the list along.
    pub(super) fn ask_for_models(&mut self) -> Output {
        self.request(Call::Models, "model/list", json!({}))
    }

    pub(super) fn models(&mut self, told: Option<&Value>) -> Vec<Output> {
        let list = told.and_then(|told| told["data"].as_array()).map_or(&[][..], Vec::as_slice);
        let shown = list.iter().filter(|model| model["hidden"] != true).filter_map(model_option);
        let mut models: Vec<_> = shown.take(MOST_MODELS).collect();
        if let Some(current) = &self.state.model
            && models.iter().all(|model| model["value"] != **current)
        {
            // A name that Codex does not know is passed on to the provider.
            models.push(json!({"value": current, "name": current}));
        }
        let modes = MODES.map(|(id, name, description)| json!({"value": id, "name": name, "description": description}));
        let mut options = vec![select("mode", "Approvals", &self.state.mode, json!(modes))];
        if let Some(current) = &self.state.model {
            options.insert(0, select("model", "Model", current, json!(models)));
        }
        let told = json!({"sessionUpdate": "config_option_update", "configOptions": options});
        update(&told).into_iter().collect()
    }
}

fn model_option(model: &Value) -> Option<Value> {
    let id = model["model"].as_str().or_else(|| model["id"].as_str()).filter(|id| id.len() <= LONGEST_ID)?;
    let mut option = json!({"value": id, "name": model["displayName"].as_str().unwrap_or(id)});
    if let Some(description) = model["description"].as_str().filter(|text| !text.is_empty()) {
        option["description"] = json!(clip(description, 500));
    }
    Some(option)
}

#[allow(clippy::needless_pass_by_value, reason = "a list is made to be sent")]
fn select(id: &str, name: &str, current: &str, options: Value) -> Value {
    json!({"id": id, "name": name, "category": id, "type": "select", "currentValue": current, "options": options})
}
