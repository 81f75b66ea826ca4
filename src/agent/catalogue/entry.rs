//! One agent: how it is started, and which adapter speaks with it.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;

use super::{
    AgentConfig, CatalogueError, MissingSecret, Protocol, RestoreError, Resume, Surroundings, WORKSPACE_IMAGE, Way,
    config,
    surroundings::{env_file, resolve, variable},
};
use crate::{
    agent::{
        acp::Acp,
        adapter::{Adapter, Launch, StartOptions},
        claude::{self, Claude},
        codex::{self, Codex},
        secrets::Secrets,
    },
    domain::{FileSetting, Setting, is_agent_name},
};

/// The environment that a session and its workspace have of their own.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// Of every process in the workspace.
    pub workspace: &'a BTreeMap<String, String>,
    /// Of the session's agent; it goes before everything else.
    pub session: &'a BTreeMap<String, String>,
}

/// An agent that a session may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentEntry {
    pub(super) name: String,
    pub(super) protocol: Protocol,
    pub(super) argv: Vec<String>,
    /// Environment that everything else goes before.
    pub(super) defaults: BTreeMap<String, String>,
    pub(super) pass_env: Vec<String>,
    pub(super) env_file: Option<PathBuf>,
    pub(super) env: BTreeMap<String, Setting>,
    /// With absolute paths.
    pub(super) files: Vec<FileSetting>,
    pub(super) image: String,
    pub(super) description: String,
    pub(super) model: Way,
    pub(super) mode: Way,
    pub(super) resume: Resume,
    /// Whether the program is one that wharf's images have.
    pub(super) built_in: bool,
}

impl AgentEntry {
    pub(super) fn new(name: String, protocol: Protocol) -> Self {
        Self {
            name,
            protocol,
            argv: Vec::new(),
            defaults: BTreeMap::new(),
            pass_env: Vec::new(),
            env_file: None,
            env: BTreeMap::new(),
            files: Vec::new(),
            image: WORKSPACE_IMAGE.to_owned(),
            description: String::new(),
            model: Way::default(),
            mode: Way::default(),
            resume: Resume::default(),
            built_in: false,
        }
    }

    /// Stands for an agent that the catalogue does not have any more: nothing of it can be started.
    #[must_use]
    pub fn absent(name: &str) -> Self {
        Self::new(name.to_owned(), Protocol::default())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is spoken to.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The image of a workspace made for it.
    #[must_use]
    pub fn image(&self) -> &str {
        &self.image
    }

    /// For people.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Whether its program is one that wharf's own images have, and tell of.
    #[must_use]
    pub const fn is_built_in(&self) -> bool {
        self.built_in
    }

    /// Whether the ids of its conversations are kept to take them up again.
    #[must_use]
    pub fn keeps_conversations(&self) -> bool {
        self.resume != Resume::Never
    }

    /// The program to run with what it is given, all of it looked up now. What its session or its workspace has of its
    /// `own` goes before what the daemon would hand on.
    ///
    /// # Errors
    /// A credential or a file that it needs is not there.
    pub fn launch(
        &self,
        options: &StartOptions,
        own: &Own<'_>,
        from: &dyn Surroundings,
    ) -> Result<Launch, MissingSecret> {
        let mut launch = Launch { argv: self.argv.clone(), ..Launch::default() };
        let mut env = self.environment(own, from, &mut launch.secrets)?;
        match self.protocol {
            Protocol::Acp => {}
            Protocol::Claude => launch.argv.extend(claude::arguments(&self.told(options))),
            Protocol::Codex => launch.argv.extend(codex::arguments(|name| {
                let value = own.session.get(name).or_else(|| env.get(name)).or_else(|| own.workspace.get(name));
                value.cloned()
            })),
        }
        for (way, value) in [(&self.model, &options.model), (&self.mode, &options.mode)] {
            match (way, value) {
                (Way::Env(name), Some(value)) => drop(env.insert(name.clone(), value.clone())),
                (Way::Arg(flag), Some(value)) => launch.argv.extend([flag.clone(), value.clone()]),
                _ => {}
            }
        }
        launch.env = env.into_iter().collect();
        for file in &self.files {
            let place = || format!("agents.{}.files {}", self.name, file.path);
            let text = resolve(&file.content, &place, from, &mut launch.secrets)?;
            launch.files.push((file.path.clone(), text));
        }
        Ok(launch)
    }

    /// The secrets that it would be given now, as far as they are there.
    #[must_use]
    pub fn secrets(&self, from: &dyn Surroundings) -> Secrets {
        let mut secrets = Secrets::default();
        let nowhere = String::new;
        for name in &self.pass_env {
            secrets.named(name, &from.variable(name).unwrap_or_default());
        }
        for (name, value) in self.env_file_values(from, &mut secrets).unwrap_or_default() {
            secrets.named(&name, &value);
        }
        for (name, setting) in &self.env {
            // What can't be read now is told of at the next start.
            let _ = variable(name, setting, &nowhere, from, &mut secrets);
        }
        for file in &self.files {
            let _ = resolve(&file.content, &nowhere, from, &mut secrets);
        }
        secrets
    }

    /// What its adapter is told: what the agent knows from its arguments or its environment is not said again.
    #[must_use]
    pub fn told(&self, options: &StartOptions) -> StartOptions {
        let by_protocol = |way: &Way, value: &Option<String>| value.clone().filter(|_| *way == Way::Protocol);
        StartOptions {
            model: by_protocol(&self.model, &options.model),
            mode: by_protocol(&self.mode, &options.mode),
            ..options.clone()
        }
    }

    /// An adapter for a process that is about to be started.
    #[must_use]
    pub fn adapter(&self) -> Box<dyn Adapter> {
        match self.protocol {
            Protocol::Acp => Box::new(Acp::default()),
            Protocol::Claude => Box::new(Claude::default()),
            Protocol::Codex => Box::new(Codex::default()),
        }
    }

    /// An adapter that goes on with a process, from the state that its adapter gave.
    ///
    /// # Errors
    /// The state is not one of this protocol's.
    pub fn restore(&self, state: &Value) -> Result<Box<dyn Adapter>, RestoreError> {
        Ok(match self.protocol {
            Protocol::Acp => Box::new(Acp::restore(state)?),
            Protocol::Claude => Box::new(Claude::restore(state)?),
            Protocol::Codex => Box::new(Codex::restore(state)?),
        })
    }

    /// The built-in defaults, what is handed on, the file's, then the configuration's own.
    fn environment(
        &self,
        own: &Own<'_>,
        from: &dyn Surroundings,
        secrets: &mut Secrets,
    ) -> Result<BTreeMap<String, String>, MissingSecret> {
        let mut env = self.defaults.clone();
        let value = |name: &String| own.workspace.get(name).cloned().or_else(|| from.variable(name));
        let passed = self.pass_env.iter().filter_map(|name| Some((name.clone(), value(name)?)));
        env.extend(passed.inspect(|(name, value)| secrets.named(name, value)));
        for (name, value) in self.env_file_values(from, secrets)? {
            secrets.named(&name, &value);
            env.insert(name, value);
        }
        for (name, setting) in &self.env {
            let place = || format!("agents.{}.env.{name}", self.name);
            env.insert(name.clone(), variable(name, setting, &place, from, secrets)?);
        }
        Ok(env)
    }

    fn env_file_values(
        &self,
        from: &dyn Surroundings,
        secrets: &mut Secrets,
    ) -> Result<BTreeMap<String, String>, MissingSecret> {
        let Some(path) = &self.env_file else { return Ok(BTreeMap::new()) };
        let place = || format!("agents.{}.env_file", self.name);
        let missing = |why| MissingSecret { place: place(), what: format!("the file {}", path.display()), why };
        let values = from.file(path).and_then(|text| env_file(&text)).map_err(missing)?;
        values.iter().for_each(|(name, value)| secrets.named(name, value));
        Ok(values)
    }

    pub(super) fn change(&mut self, config: AgentConfig) -> Result<(), CatalogueError> {
        if !is_agent_name(&self.name) {
            return Err(CatalogueError::Name(self.name.clone()));
        }
        let bad_file = |why: String| CatalogueError::File { agent: self.name.clone(), why };
        let files = config::place(config.files).map_err(bad_file)?;
        if let Some(path) = config.env_file.as_ref().filter(|path| !path.is_absolute()) {
            return Err(bad_file(format!("env_file {} has to be an absolute path", path.display())));
        }
        self.files.extend(files);
        self.built_in &= config.argv.is_none() && config.protocol.is_none_or(|protocol| protocol == self.protocol);
        self.protocol = config.protocol.unwrap_or(self.protocol);
        self.env.extend(config.env);
        self.env_file = config.env_file.or_else(|| self.env_file.take());
        self.argv = config.argv.unwrap_or_else(|| std::mem::take(&mut self.argv));
        self.pass_env = config.pass_env.unwrap_or_else(|| std::mem::take(&mut self.pass_env));
        self.image = config.image.unwrap_or_else(|| std::mem::take(&mut self.image));
        self.description = config.description.unwrap_or_else(|| std::mem::take(&mut self.description));
        self.model = config.model.unwrap_or_else(|| std::mem::take(&mut self.model));
        self.mode = config.mode.unwrap_or_else(|| std::mem::take(&mut self.mode));
        self.resume = config.resume.unwrap_or(self.resume);
        if self.argv.first().is_none_or(String::is_empty) {
            return Err(CatalogueError::Argv(self.name.clone()));
        }
        match self.env.keys().chain(&self.pass_env).find(|name| !config::is_variable(name)) {
            Some(variable) => Err(CatalogueError::Variable { agent: self.name.clone(), variable: variable.clone() }),
            None => Ok(()),
        }
    }
}
