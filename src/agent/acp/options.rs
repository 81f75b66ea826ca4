//! Models and modes: what the agent announces, and how one of them is chosen.

use agent_client_protocol_schema::v1::SessionUpdate;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Acp,
    message::{RpcError, Update},
    state::{Call, Choice},
};
use crate::agent::{
    adapter::{Output, Unsupported},
    outputs::{LONGEST_ID, unparsed, update},
};

/// The most values that are kept to check a choice against; a longer list is left to the agent to check.
const MOST_VALUES: usize = 64;

/// What may be chosen of one kind, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Choices {
    /// The configuration option to set; `None`: by `session/set_model` or `session/set_mode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    option: Option<String>,
    /// Whether the agent has such a thing at all.
    #[serde(default)]
    announced: bool,
    /// What there is; empty where it is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
}

impl Choices {
    /// Reads them from the answer to `session/new` and its like.
    pub(super) fn read(what: &str, opened: &Value) -> Self {
        let options = opened["configOptions"].as_array().map_or(&[][..], Vec::as_slice);
        let named = |key: &str| options.iter().find(|option| option[key] == what);
        if let Some(option) = named("category").or_else(|| named("id"))
            && let Some(id) = option["id"].as_str().filter(|id| id.len() <= LONGEST_ID)
        {
            return Self { option: Some(id.to_owned()), announced: true, values: values(&option["options"], "value") };
        }
        let (list, key) = match what {
            "model" => (&opened["models"]["availableModels"], "modelId"),
            _ => (&opened["modes"]["availableModes"], "id"),
        };
        Self { option: None, announced: list.is_array(), values: values(list, key) }
    }

    /// Whether a value can be chosen.
    fn check(&self, choice: &Choice) -> Result<(), Unsupported> {
        let Choice { what, value } = choice;
        if !self.announced {
            return Err(Unsupported(format!("this agent has no way to choose a {what}")));
        }
        if self.values.is_empty() || self.values.contains(value) {
            return Ok(());
        }
        Err(Unsupported(format!("this agent has no {what} {value:?}; it has {}", self.values.join(", "))))
    }

    /// The method and the parameters, without the session, that choose a value.
    fn request(&self, choice: &Choice) -> (&'static str, Value) {
        match (&self.option, choice.what.as_str()) {
            (Some(option), _) => ("session/set_config_option", json!({"configId": option, "value": choice.value})),
            (None, "model") => ("session/set_model", json!({"modelId": choice.value})),
            (None, _) => ("session/set_mode", json!({"modeId": choice.value})),
        }
    }
}

/// The values of a list, which may be in groups; empty if there are too many to keep.
fn values(list: &Value, key: &str) -> Vec<String> {
    let items = list.as_array().map_or(&[][..], Vec::as_slice);
    let flat = items.iter().flat_map(|item| match item["options"].as_array() {
        Some(group) => group.as_slice(),
        None => std::slice::from_ref(item),
    });
    let found: Vec<_> = flat.filter_map(|item| item[key].as_str()).collect();
    if found.len() > MOST_VALUES || found.iter().any(|value| value.len() > LONGEST_ID) {
        return Vec::new();
    }
    found.into_iter().map(str::to_owned).collect()
}

impl Acp {
    /// Takes in what the answer to `session/new` and its like announces, and tells of it.
    pub(super) fn announce(&mut self, opened: &Value) -> Vec<Output> {
        self.state.model = Choices::read("model", opened);
        self.state.mode = Choices::read("mode", opened);
        let mut outputs = self.tell_options(&opened["configOptions"]);
        if let Some(mode) = opened["modes"]["currentModeId"].as_str() {
            outputs.extend(self.tell_mode(mode));
        }
        outputs
    }

    /// The request for a choice that can be made.
    fn request_choice(&mut self, choice: Choice, setup: bool) -> Result<Output, Unsupported> {
        let choices = if choice.what == "model" { &self.state.model } else { &self.state.mode };
        choices.check(&choice)?;
        let (method, mut params) = choices.request(&choice);
        params["sessionId"] = json!(self.state.session_id);
        let call = if setup { Call::Setup(choice) } else { Call::Choose(choice) };
        Ok(self.request(call, method, &params))
    }

    /// Makes a choice between turns, or for what comes later in this one.
    pub(super) fn choose(&mut self, what: &str, value: &str) -> Result<Vec<Output>, Unsupported> {
        if self.state.session_id.is_none() {
            return Err(Unsupported("the agent is not ready yet".to_owned()));
        }
        self.request_choice(Choice { what: what.to_owned(), value: value.to_owned() }, false).map(|sent| vec![sent])
    }

    /// Makes the next of the choices that come before the first prompt; then the agent is ready.
    pub(super) fn next_setup(&mut self) -> Vec<Output> {
        let Some(choice) = self.state.setup.pop() else { return self.open_gate() };
        match self.request_choice(choice, true) {
            Ok(sent) => vec![sent],
            Err(unsupported) => self.die(unsupported.0),
        }
    }

    /// The answer to a choice that comes before the first prompt.
    pub(super) fn set_up(&mut self, choice: &Choice, result: Result<Value, RpcError>) -> Vec<Output> {
        match result {
            Ok(result) => {
                let mut outputs = self.tell_choice(choice, &result);
                outputs.extend(self.next_setup());
                outputs
            }
            Err(error) => self.die(format!("the agent refused {} {:?}: {}", choice.what, choice.value, error.text())),
        }
    }

    /// The answer to a choice made later.
    pub(super) fn chosen(&mut self, choice: &Choice, result: Result<Value, RpcError>, line: &[u8]) -> Vec<Output> {
        match result {
            Ok(result) => self.tell_choice(choice, &result),
            // The agent's refusal is shown as it is: there is no turn that it could fail.
            Err(_) => vec![unparsed(line)],
        }
    }

    fn tell_choice(&mut self, choice: &Choice, result: &Value) -> Vec<Output> {
        let mut outputs = self.tell_options(&result["configOptions"]);
        if choice.what == "mode" && self.state.mode.option.is_none() {
            outputs.extend(self.tell_mode(&choice.value));
        }
        outputs
    }

    /// Tells of the configuration options, where the agent has not just done so itself.
    fn tell_options(&mut self, options: &Value) -> Vec<Output> {
        let sum = checksum(options);
        if !options.is_array() || sum == self.state.told_options {
            return Vec::new();
        }
        let told = json!({"sessionUpdate": "config_option_update", "configOptions": options});
        if serde_json::from_value::<SessionUpdate>(told.clone()).is_err() {
            return Vec::new();
        }
        self.state.told_options = sum;
        update(&told).into_iter().collect()
    }

    fn tell_mode(&mut self, mode: &str) -> Option<Output> {
        if self.state.told_mode.as_deref() == Some(mode) || mode.len() > LONGEST_ID {
            return None;
        }
        self.state.told_mode = Some(mode.to_owned());
        update(&json!({"sessionUpdate": "current_mode_update", "currentModeId": mode}))
    }

    /// Remembers what the agent tells of itself.
    pub(super) fn learn(&mut self, update: &Update<'_>) {
        match &update.parsed {
            SessionUpdate::CurrentModeUpdate(mode) => {
                let mode = mode.current_mode_id.0.to_string();
                if mode.len() <= LONGEST_ID {
                    self.state.told_mode = Some(mode);
                }
            }
            SessionUpdate::ConfigOptionUpdate(_) => {
                if let Ok(update) = serde_json::from_str::<Value>(update.raw.get()) {
                    self.state.told_options = checksum(&update["configOptions"]);
                    for what in ["model", "mode"] {
                        let choices = Choices::read(what, &update);
                        if choices.option.is_some() {
                            *(if what == "model" { &mut self.state.model } else { &mut self.state.mode }) = choices;
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

fn checksum(options: &Value) -> u32 {
    crc32fast::hash(options.to_string().as_bytes())
}
