//! Answers `GET /v1/agents`: the catalogue, and what the engine's images tell of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::agent::{AgentEntry, Catalogue, Choosing};
use crate::api::{AgentAbilities, AgentInfo, AskAgents, When};
use crate::engine::{Engine, LabelSet};
use crate::workspace::image_hint;

/// `wharf.agent.NAME=VERSION` on an image says that it has this agent.
const LABEL: &str = "wharf.agent.";
/// How long what the engine said of an image holds.
const FRESH: Duration = Duration::from_secs(5);
/// How long the engine may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many images are remembered.
const IMAGES_MAX: usize = 64;
/// The longest version that is told, in characters.
const VERSION_MAX: usize = 64;

/// What is known of an image: `None` where the engine can't tell, `Some(None)` where it has no such image.
type Known = Option<Option<Arc<LabelSet>>>;

/// What the engine said of images, for a short while.
#[derive(Default)]
struct Images(Mutex<HashMap<String, (Instant, Known)>>);

impl Images {
    async fn look(&self, engine: &Engine, image: &str) -> Known {
        let remembered = |now: Instant| {
            let images = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            images.get(image).filter(|(then, _)| now.duration_since(*then) < FRESH).map(|(_, known)| known.clone())
        };
        if let Some(known) = remembered(Instant::now()) {
            return known;
        }
        let asked = tokio::time::timeout(PATIENCE, engine.image_labels(image)).await;
        let known = asked.ok().and_then(Result::ok).map(|found| found.map(Arc::new));
        // What could not be asked is asked again.
        if known.is_some() {
            let mut images = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if images.len() >= IMAGES_MAX {
                images.retain(|_, (then, _)| now.duration_since(*then) < FRESH);
            }
            if images.len() < IMAGES_MAX {
                images.insert(image.to_owned(), (now, known.clone()));
            }
        }
        known
    }
}

/// Answers `GET /v1/agents`.
pub(super) fn ask(catalogue: Arc<Catalogue>, engine: Engine) -> AskAgents {
    let images = Arc::new(Images::default());
    Arc::new(move |other: Option<String>| {
        let (catalogue, engine, images) = (catalogue.clone(), engine.clone(), images.clone());
        Box::pin(async move {
            let mut names: Vec<String> = match other {
                Some(image) => vec![image],
                None => catalogue.entries().map(|entry| entry.image().to_owned()).collect(),
            };
            names.sort_unstable();
            names.dedup();
            let looked = join_all(names.iter().map(|image| images.look(&engine, image))).await;
            let known: HashMap<_, _> = names.iter().map(String::as_str).zip(looked).collect();
            let only = names.first().filter(|_| names.len() == 1).map(String::as_str);
            let info = |entry: &AgentEntry| {
                let own = Some(entry.image()).filter(|image| known.contains_key(image));
                let image = own.or(only).unwrap_or_default();
                tell(entry, image, known.get(image).unwrap_or(&None))
            };
            catalogue.entries().map(info).collect()
        })
    })
}

fn tell(entry: &AgentEntry, image: &str, known: &Known) -> AgentInfo {
    let (in_image, version) = match known {
        Some(Some(labels)) => of_labels(entry, labels),
        // In an image that is not there is nothing; of one that nobody can ask about nothing is known.
        Some(None) => (Some(false), None),
        None => (None, None),
    };
    let present = known.as_ref().map(Option::is_some);
    AgentInfo {
        name: entry.name().to_owned(),
        protocol: entry.protocol().as_str().to_owned(),
        description: Some(entry.description().to_owned()).filter(|text| !text.is_empty()),
        image: image.to_owned(),
        image_present: present,
        hint: (present == Some(false)).then(|| image_hint(image)),
        in_image,
        version,
        can: abilities(entry),
    }
}

/// What an image's labels tell of an agent. One that labels its agents has the built-in ones that it labels and no
/// others; of other agents nothing can be told, as whoever added one need not have labelled it.
fn of_labels(entry: &AgentEntry, labels: &LabelSet) -> (Option<bool>, Option<String>) {
    match labels.get(&format!("{LABEL}{}", entry.name())) {
        Some(version) => {
            let version: String = version.chars().filter(|c| !c.is_control()).take(VERSION_MAX).collect();
            (Some(true), Some(version).filter(|version| !version.is_empty()))
        }
        None if entry.is_built_in() && labels.keys().any(|label| label.starts_with(LABEL)) => (Some(false), None),
        None => (None, None),
    }
}

fn abilities(entry: &AgentEntry) -> AgentAbilities {
    let known = entry.abilities();
    let when = |choosing| match choosing {
        Choosing::AtStart => When::AtStart,
        Choosing::AnyTime => When::AnyTime,
    };
    AgentAbilities {
        resume: known.resume,
        cancel: true,
        model: known.model.map(when),
        mode: known.mode.map(when),
        modes: known.modes.map(|modes| modes.into_iter().map(str::to_owned).collect()),
        permissions: known.permissions,
        images: known.images,
        mcp: known.mcp.map(|ways| ways.into_iter().map(str::to_owned).collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn an_image_that_can_not_tell_says_nothing() {
        let own: BTreeMap<_, _> = serde_json::from_str(r#"{"own": {"argv": ["own"]}}"#).unwrap();
        let catalogue = Catalogue::new(own).unwrap();
        let agent = |name: &str| catalogue.get(name).unwrap();
        let labels = |pairs: &[(&str, &str)]| -> LabelSet {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let ours = labels(&[("wharf.agent.claude", "2.1"), ("other", "x")]);
        assert_eq!(of_labels(agent("claude"), &ours), (Some(true), Some("2.1".into())));
        assert_eq!(of_labels(agent("demo"), &ours), (Some(false), None));
        assert_eq!(of_labels(agent("own"), &ours), (None, None), "nobody had to label it");
        assert_eq!(of_labels(agent("claude"), &labels(&[("other", "x")])), (None, None));
        let long = labels(&[("wharf.agent.own", &format!("1\n{}", "x".repeat(1000)))]);
        assert_eq!(of_labels(agent("own"), &long).1.unwrap().len(), VERSION_MAX);
        assert_eq!(tell(agent("claude"), "i", &None).in_image, None);
        assert_eq!(tell(agent("claude"), "i", &Some(None)).in_image, Some(false));
    }
}
