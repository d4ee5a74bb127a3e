//! A pod, and what it finds where it runs: volumes, secrets, the addresses of the others.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, PoisonError},
};

use apolo::{model::UnixMillis, transport::Authority};
use tokio::process::{Child, Command};

use super::{
    api::Api,
    manifest::{Manifest, Variable},
};
use crate::{
    clusters::nodes::API_TOKEN,
    kills::{Life, Records},
};

/// The files of the Secrets, by the names under which the manifest mounts them.
const SECRETS: [(&str, &str); 3] =
    [("discord-token", "victim"), ("api-token", API_TOKEN), ("bot-token", "bot")];

/// Its value is a DNS name that only a cluster's own DNS knows: the pods are told addresses instead.
const DISCOVER: &str = "APOLO_DISCOVER";

/// A pod as the controller made it. Made anew it has another address, as with Kubernetes.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) ordinal: u32,
    pub(super) name: String,
    /// Of the template.
    pub(super) revision: u32,
    pub(super) http: SocketAddr,
    pub(super) quic: SocketAddr,
}

/// What all pods share.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) manifest: Manifest,
    /// The second pod mounts the first one's volume: to see what comes of it.
    pub(super) one_volume_for_two: bool,
    /// Where pods ask for their StatefulSet, if they may.
    pub(super) api_server: Option<Api>,
    program: PathBuf,
    directory: PathBuf,
    api: String,
    /// What the headless Service's name stands for: every pod that is there, ready or not.
    peers: Mutex<BTreeMap<u32, SocketAddr>>,
    /// The records of every life so far.
    lives: Mutex<Vec<PathBuf>>,
}

impl Site {
    pub(super) fn new(
        manifest: Manifest,
        program: &Path,
        directory: &Path,
        api: String,
    ) -> io::Result<Self> {
        Authority::create(&directory.join("ca"), UnixMillis::now()).map_err(io::Error::other)?;
        let secrets = directory.join("secrets");
        fs::create_dir(&secrets)?;
        for (file, secret) in SECRETS {
            fs::write(secrets.join(file), secret)?;
        }
        Ok(Self {
            manifest,
            one_volume_for_two: false,
            api_server: None,
            program: program.to_owned(),
            directory: directory.to_owned(),
            api,
            peers: Mutex::default(),
            lives: Mutex::default(),
        })
    }

    /// From now on the others find it.
    pub(super) fn announce(&self, pod: &Pod) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.insert(pod.ordinal, pod.quic);
    }

    pub(super) fn withdraw(&self, pod: &Pod) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.remove(&pod.ordinal);
    }

    /// Starts the pod's container.
    pub(super) fn start(&self, pod: &Pod) -> io::Result<Child> {
        let records = {
            let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
            let records = self.directory.join(format!("{}-records-{}", pod.name, lives.len()));
            lives.push(records.clone());
            records
        };
        let log = fs::File::options().create(true).append(true).open(self.log_of(&pod.name))?;
        Command::new(&self.program)
            .arg("victim")
            .arg("--records")
            .arg(&records)
            .env_clear()
            .envs(self.environment(pod)?)
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
    }

    /// The manifest's, and what takes the place of the pod's own IP address, of the cluster's DNS and of Discord.
    fn environment(&self, pod: &Pod) -> io::Result<BTreeMap<String, String>> {
        let mut environment = self.manifest.settings.clone();
        for variable in &self.manifest.container().env {
            let (name, value) = match variable {
                Variable::Plain { name, value } => (name, self.mounted(pod, value)?),
                Variable::Field { name, .. } => (name, pod.name.clone()),
            };
            environment.insert(name.clone(), value);
        }
        environment.remove(DISCOVER);
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let peers: Vec<_> = peers.values().map(SocketAddr::to_string).collect();
        let here = [
            ("APOLO_PEERS", peers.join(",")),
            ("APOLO_HTTP_ADDR", pod.http.to_string()),
            ("APOLO_QUIC_ADDR", pod.quic.to_string()),
            ("DISCORD_API", self.api.clone()),
            // Members who come and go are to be counted too.
            ("DISCORD_INTENTS", "UNPRIVILEGED,GUILD_MEMBERS".to_owned()),
        ];
        environment.extend(here.map(|(name, value)| (name.to_owned(), value)));
        let rights = self.api_server.iter().flat_map(Api::environment);
        environment.extend(rights.map(|(name, value)| (name.to_owned(), value)));
        Ok(environment)
    }

    /// A value as it is here: what is below a mount is below the directory that is mounted.
    fn mounted(&self, pod: &Pod, value: &str) -> io::Result<String> {
        for mount in &self.manifest.container().volume_mounts {
            if let Some(below) = value.strip_prefix(&mount.mount_path) {
                let mut directory = self.directory.join(&mount.name).into_os_string();
                if self.claims().any(|claim| claim == mount.name) {
                    let volume = self.volume(&mount.name, pod.ordinal);
                    fs::create_dir_all(&volume)?;
                    directory = volume.into_os_string();
                }
                directory.push(below);
                return directory.into_string().map_err(|_| io::ErrorKind::InvalidData.into());
            }
        }
        Ok(value.to_owned())
    }

    fn claims(&self) -> impl Iterator<Item = &str> {
        self.manifest.set.spec.volume_claim_templates.iter().map(|it| it.metadata.name.as_str())
    }

    fn volume(&self, claim: &str, ordinal: u32) -> PathBuf {
        let ordinal = if self.one_volume_for_two && ordinal == 1 { 0 } else { ordinal };
        self.directory.join(format!("{claim}-{}-{ordinal}", self.manifest.name()))
    }

    /// Removes what the claims of an ordinal hold.
    pub(super) fn remove_volumes(&self, ordinal: u32) -> io::Result<()> {
        self.claims().try_for_each(|claim| fs::remove_dir_all(self.volume(claim, ordinal)))
    }

    fn log_of(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.log"))
    }

    /// Where a pod's logs are, of every ordinal that ever was.
    pub(super) fn logs(&self) -> Vec<PathBuf> {
        let name = |ordinal| format!("{}-{ordinal}", self.manifest.name());
        (0..).map(|ordinal| self.log_of(&name(ordinal))).take_while(|log| log.exists()).collect()
    }

    /// What all lives wrote.
    pub(super) fn lives(&self) -> Vec<Life> {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.iter().map(|file| Life { records: Records::read(file), began_ms: 0 }).collect()
    }
}
