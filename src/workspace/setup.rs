//! Repository and setup command: done once, before anything else runs in a workspace.

use std::sync::Arc;

use super::{
    WorkspaceError,
    container::{HOME, USER, WORK},
    logbook::Logbook,
    shared::Shared,
    task,
};
use crate::{
    domain::{Credentials, Repo, Setup, SetupFailure, WorkspaceRecord},
    store::Batch,
    tether::client::{StartProcess, TetherClient},
};

/// Clones into a directory that may hold something, and goes on where an earlier try was broken off. The helper answers
/// for the repository's own host alone, from variables of this one process: a redirect elsewhere gets nothing, and
/// nothing is written to a configuration.
const CLONE: &str = r#"
set -eu
command -v git >/dev/null || { echo "the image has no git" >&2; exit 127; }
git init -q .
git remote get-url origin >/dev/null 2>&1 && git remote set-url origin "$WHARF_REPO_URL" || git remote add origin "$WHARF_REPO_URL"
git_() {
  if [ -n "${WHARF_REPO_HOST:-}" ]; then
    git -c credential.helper= -c "credential.$WHARF_REPO_HOST.helper=!f() { test \"\$1\" = get && printf 'username=%s\npassword=%s\n' \"\$WHARF_REPO_USERNAME\" \"\$WHARF_REPO_PASSWORD\"; }; f" "$@"
  else
    git -c credential.helper= "$@"
  fi
}
git_ fetch --progress --tags origin '+refs/heads/*:refs/remotes/origin/*'
if [ -z "${WHARF_REPO_REF:-}" ]; then
  git_ remote set-head origin --auto >/dev/null
  branch=$(git symbolic-ref --short refs/remotes/origin/HEAD)
  git checkout -q -B "${branch#origin/}" --track "$branch"
elif git show-ref --verify --quiet "refs/remotes/origin/$WHARF_REPO_REF"; then
  git checkout -q -B "$WHARF_REPO_REF" --track "origin/$WHARF_REPO_REF"
elif git rev-parse --verify --quiet "$WHARF_REPO_REF^{commit}" >/dev/null; then
  git checkout -q --detach "$WHARF_REPO_REF"
else
  git_ fetch --progress origin "$WHARF_REPO_REF"
  git checkout -q --detach FETCH_HEAD
fi
echo "at $(git rev-parse HEAD)"
"#;

/// Names and values of an environment.
type Variables = Vec<(String, String)>;

/// What is still to be done in a workspace before it is used.
pub(super) struct Pending<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) record: &'a mut WorkspaceRecord,
    pub(super) client: &'a TetherClient,
    pub(super) log: &'a Logbook,
}

/// The error of a workspace whose last try failed.
pub(super) fn error(failure: &SetupFailure) -> WorkspaceError {
    WorkspaceError::Setup { message: failure.message.clone(), output: failure.output.clone() }
}

/// Whether nothing is left to do.
pub(super) fn is_done(record: &WorkspaceRecord) -> bool {
    (record.spec.repo.is_none() || record.setup.cloned) && (record.spec.setup.is_none() || record.setup.done)
}

impl Pending<'_> {
    /// Does what is left to do; what failed is recorded, and not done again until somebody says so.
    pub(super) async fn run(mut self) -> Result<(), WorkspaceError> {
        if let Some(repo) = self.record.spec.repo.clone().filter(|_| !self.record.setup.cloned) {
            let (env, hidden) = self.clone_env(&repo)?;
            self.step("clone", "cloning the repository", CLONE, env, &hidden).await?;
            self.record.setup.cloned = true;
            self.record.sealed_credentials = None;
            self.save().await?;
        }
        if let Some(command) = self.record.spec.setup.clone().filter(|_| !self.record.setup.done) {
            let env = self.shared.env(self.record)?;
            let hidden = env.values().filter(|value| value.len() >= 8).cloned().collect::<Vec<_>>();
            self.step("setup", "the setup command", &command, env.into_iter().collect(), &hidden).await?;
            self.record.setup.done = true;
            self.save().await?;
        }
        Ok(())
    }

    async fn step(
        &mut self,
        who: &str,
        what: &str,
        script: &str,
        env: Variables,
        hidden: &[String],
    ) -> Result<(), WorkspaceError> {
        self.log.line("wharf", &format!("{what} begins")).await;
        // Of a try that went down with its container nobody knows how far it came: the next one is its second half.
        for last in [false, true] {
            let id = format!("wharf-{who}-{}", self.record.setup.attempt);
            let end = task::run(self.client, process(id, script, env.clone()), who, hidden, self.log).await?;
            let how = match (end.code, end.signal) {
                (Some(0), _) => return Ok(()),
                _ if end.lost && !last => continue,
                (Some(code), _) => format!("failed with exit code {code}"),
                (None, Some(signal)) => format!("was ended by signal {signal}"),
                (None, None) if end.lost => "went down with the container".to_owned(),
                (None, None) => "could not be started: the image needs /bin/sh".to_owned(),
            };
            let failure = SetupFailure { message: format!("{what} {how}"), output: end.output };
            self.log.line("wharf", &failure.message).await;
            self.record.setup.attempt += 1;
            self.record.setup.failure = Some(failure.clone());
            self.save().await?;
            return Err(error(&failure));
        }
        Ok(())
    }

    /// Only what this step decides is written: the rest of the record may have been changed meanwhile.
    async fn save(&mut self) -> Result<(), WorkspaceError> {
        let Some(mut stored) = self.shared.store.workspace(&self.record.id)? else { return Ok(()) };
        stored.setup = Setup { ..self.record.setup.clone() };
        stored.sealed_credentials.clone_from(&self.record.sealed_credentials);
        let mut batch = Batch::new();
        batch.put_workspace(stored);
        Ok(self.shared.store.commit(batch).await?)
    }

    fn clone_env(&self, repo: &Repo) -> Result<(Variables, Vec<String>), WorkspaceError> {
        let mut env = vec![
            ("WHARF_REPO_URL".to_owned(), repo.url.clone()),
            ("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned()),
            ("GIT_ALLOW_PROTOCOL".to_owned(), "https:http:git:ssh:file".to_owned()),
        ];
        env.extend(repo.reference.clone().map(|reference| ("WHARF_REPO_REF".to_owned(), reference)));
        let mut hidden = Vec::new();
        if let (Some(credentials), Some(host)) = (self.shared.credentials(self.record)?, host_of(&repo.url)) {
            let Credentials { username, password } = credentials;
            hidden.push(password.clone());
            env.extend([
                ("WHARF_REPO_HOST".to_owned(), host.to_owned()),
                ("WHARF_REPO_USERNAME".to_owned(), username),
                ("WHARF_REPO_PASSWORD".to_owned(), password),
            ]);
        }
        Ok((env, hidden))
    }
}

fn process(id: String, script: &str, more: Variables) -> StartProcess {
    let mut env: Variables = [
        ("HOME", HOME),
        ("USER", "agent"),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LANG", "C.UTF-8"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    env.extend(more);
    StartProcess {
        id,
        argv: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        env,
        files: Vec::new(),
        cwd: WORK.to_owned(),
        uid: USER,
        gid: USER,
        pty: None,
    }
}

/// `scheme://host[:port]` of an http(s) address: for what else, nobody asks for credentials.
pub(super) fn host_of(url: &str) -> Option<&str> {
    let scheme = ["https://", "http://"].into_iter().find(|scheme| url.starts_with(scheme))?;
    let end = url[scheme.len()..].find('/').map_or(url.len(), |at| scheme.len() + at);
    Some(&url[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_for_the_repository_s_host() {
        assert_eq!(host_of("https://git.example:8443/a/b.git"), Some("https://git.example:8443"));
        assert_eq!(host_of("http://h"), Some("http://h"));
        assert_eq!(host_of("git://h/a"), None);
        assert_eq!(host_of("file:///a"), None);
    }

    #[test]
    fn no_secret_is_in_the_arguments() {
        let env = vec![("WHARF_REPO_PASSWORD".to_owned(), "hunter2".to_owned())];
        let start = process("wharf-clone-0".into(), CLONE, env);
        assert!(!start.argv.join(" ").contains("hunter2") && !format!("{start:?}").contains("hunter2"));
    }
}
