//! Containers of the test, on the real engine. No registry is needed: the image is busybox imported.

use std::io::Write;
use std::process::{Command, Stdio};

/// The image that [`available`] makes.
pub const IMAGE: &str = "stackwatch-test:busybox";

/// Gives the test's image another name, by which it is taken for another program's.
///
/// # Panics
/// When the engine refuses.
pub fn tagged(name: &str) {
    assert!(docker(&["tag", IMAGE, name]).is_some(), "docker tag {name}");
}

/// Whether an engine answers and the image can be made.
#[must_use]
pub fn available() -> bool {
    docker(&["info"]).is_some() && image()
}

/// Runs `docker` and gives its trimmed standard output, `None` when it fails.
#[must_use]
pub fn docker(args: &[&str]) -> Option<String> {
    let out = Command::new("docker")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    out.status
        .success()
        .then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Makes the image unless it is there.
fn image() -> bool {
    if docker(&["image", "inspect", IMAGE]).is_some() {
        return true;
    }
    let mut import = Command::new("docker");
    import.args(["import", "-", IMAGE]);
    imported(import)
}

/// Whether `import`, a `docker import -`, takes a root file system that is one static busybox.
pub(crate) fn imported(mut import: Command) -> bool {
    let Some(tar) = image_tar() else { return false };
    let import = import.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let Ok(mut import) = import else { return false };
    let written = import
        .stdin
        .take()
        .is_some_and(|mut stdin| stdin.write_all(&tar).is_ok());
    written && import.wait().is_ok_and(|s| s.success())
}

fn image_tar() -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().ok()?;
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).ok()?;
    std::fs::copy("/bin/busybox", bin.join("busybox")).ok()?;
    for applet in ["sh", "sleep", "echo", "cat", "true", "yes", "seq", "dd"] {
        let _ = std::os::unix::fs::symlink("busybox", bin.join(applet));
    }
    let tar = Command::new("tar")
        .arg("-C")
        .arg(dir.path())
        .args(["-c", "."])
        .output();
    tar.ok().map(|tar| tar.stdout)
}

/// A container; removed on drop.
pub struct Container {
    /// Its name.
    pub name: String,
}

/// `docker run -d` with compose labels, as `docker compose up` would set them, and these options.
/// One of the same name is removed first.
///
/// # Panics
/// When the engine refuses.
#[must_use]
pub fn run(project: &str, service: &str, options: &[&str], script: &str) -> Container {
    let name = format!("{project}-{service}-{}", std::process::id());
    let _ = docker(&["rm", "-f", &name]);
    let labels = [
        format!("--label=com.docker.compose.project={project}"),
        format!("--label=com.docker.compose.service={service}"),
    ];
    let mut words = vec!["run", "-d", "--network=none", "--name", &name];
    words.extend(labels.iter().map(String::as_str));
    words.extend(options);
    words.extend([IMAGE, "sh", "-c", script]);
    let started = docker(&words);
    assert!(started.is_some(), "docker run {name} failed");
    Container { name }
}

impl Container {
    /// `docker run -d` of an image of [`tagged`] or the test's own, with further options.
    ///
    /// # Panics
    /// When the engine refuses.
    #[must_use]
    pub fn run_with(name: &str, image: &str, options: &[&str], command: &[&str]) -> Container {
        let name = format!("{name}-{}", std::process::id());
        let _ = docker(&["rm", "-f", &name]);
        let mut words = vec!["run", "-d", "--name", &name];
        words.extend(options);
        words.push(image);
        words.extend(command);
        assert!(docker(&words).is_some(), "docker {words:?} failed");
        Container { name }
    }

    /// Its address in its first network.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn ip(&self) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        let all = docker(&["inspect", "--format", format, &self.name]).unwrap_or_default();
        all.split(' ').next().unwrap().to_owned()
    }

    /// Stops and removes it.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn remove(&self) {
        assert!(docker(&["rm", "-f", &self.name]).is_some());
    }

    /// As [`run`], without options.
    ///
    /// # Panics
    /// When the engine refuses.
    #[must_use]
    pub fn run(project: &str, service: &str, script: &str) -> Container {
        run(project, service, &[], script)
    }

    /// Sends a signal to its first process.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn signal(&self, signal: &str) {
        assert!(
            docker(&["kill", "--signal", signal, &self.name]).is_some(),
            "docker kill {}",
            self.name
        );
    }

    /// Starts it again.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn start(&self) {
        assert!(
            docker(&["start", &self.name]).is_some(),
            "docker start {}",
            self.name
        );
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = docker(&["rm", "-f", &self.name]);
    }
}
