//! A real browser on the dashboard, led as people lead one: by what stands on labels, buttons and links.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustix::process::{Signal, geteuid, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Api, Running, World, pause, wait_until, webdriver::Session};

/// What a machine under load may need for a page.
const SOON: Duration = Duration::from_secs(30);

/// What a page may weigh, with all that it loads, in bytes.
const MOST: u64 = 100_000;

/// It has no screen, and asks nobody but the dashboard.
const FLAGS: [&str; 9] = [
    "--headless",
    "--window-size=1280,900",
    "--hide-scrollbars",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// What people prefer.
const SCHEMES: [&str; 2] = ["light", "dark"];

/// A key, as WebDriver writes it.
pub const TAB: char = '\u{E004}';
/// A key, as WebDriver writes it.
pub const ENTER: char = '\u{E007}';

/// Under which name WebDriver tells an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// What WebDriver says where an element is on the page no longer.
const REPLACED: &str = "stale element reference";

const LABELLED: &str = "
    const label = [...document.querySelectorAll('label')].find(one => one.textContent.trim() === arguments[0]);
    return label ? label.control : null;";

const VALUE: &str = "
    const label = [...document.querySelectorAll('label')].find(one => one.textContent.trim() === arguments[0]);
    return label ? label.control.value : null;";

const OPTION: &str = "
    const label = [...document.querySelectorAll('label')].find(one => one.textContent.trim() === arguments[0]);
    return label ? [...label.control.options].find(one => one.label === arguments[1]) : null;";

const BUTTON: &str = "
    const all = [...document.querySelectorAll('button, input[type=submit]')];
    return all.find(one => (one.textContent.trim() || one.value) === arguments[0]);";

const LINK: &str =
    "return [...document.links].find(one => one.textContent.trim() === arguments[0]);";

const SUMMARY: &str = "
    return [...document.querySelectorAll('summary')].find(one => one.textContent.trim() === arguments[0]);";

/// Each rule that is broken, and where.
const BARRIERS: &str = "
    const done = arguments[0];
    const told = ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(node => node.target.join(' ')).join(', ')}`;
    axe.run(document, { resultTypes: ['violations'] })
        .then(({ violations }) => done(violations.map(told)), problem => done([String(problem)]));";

const WEIGHT: &str = "
    const loaded = ['navigation', 'resource'].flatMap(kind => performance.getEntriesByType(kind));
    return loaded.reduce((sum, one) => sum + one.encodedBodySize, 0);";

/// The whole page, not only what fits the window.
const WHOLE: &str = "
    const { scrollWidth: width, scrollHeight: height } = document.documentElement;
    return { x: 0, y: 0, width, height, scale: 1 };";

/// A browser of its own, which nobody is signed in with. It ends when it is dropped.
#[derive(Debug)]
pub struct Chromium {
    origin: String,
    // They end in this order.
    session: Session,
    _driver: Driver,
    _profile: TempDir,
}

/// What drives it, and whatever that has started.
#[derive(Debug)]
struct Driver(Running);

impl Chromium {
    /// Starts one, for the dashboard of this process.
    #[track_caller]
    pub fn start(world: &World, api: &Api) -> Self {
        let profile = tempfile::Builder::new()
            .prefix("tharsis-chromium-")
            .tempdir()
            .expect("there is a temporary folder");
        let driver = Driver(world.spawn_other(chromedriver()));
        let port: u16 = wait_until("the driver listens", SOON, || {
            let told = driver.0.stdout();
            let (_, port) = told.split_once("started successfully on port ")?;
            port.split_once('.')?.0.parse().ok()
        });
        let flags = flags(profile.path());
        let capabilities = json!({ "goog:chromeOptions": { "args": flags } });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            origin: api.url(),
            session: Session::begin(address, &capabilities),
            _driver: driver,
            _profile: profile,
        }
    }

    // What people do.

    /// Opens a page of the dashboard.
    #[track_caller]
    pub fn open(&self, path: &str) {
        self.visit(&format!("{}{path}", self.origin));
    }

    /// Opens a page of anybody.
    #[track_caller]
    pub fn visit(&self, url: &str) {
        self.command("url", &json!({ "url": url }));
    }

    /// Types into the field with this label, in place of what is in it.
    #[track_caller]
    pub fn fill(&self, label: &str, text: &str) {
        let field = self.find(LABELLED, &[label]);
        self.command(&format!("element/{field}/clear"), &json!({}));
        let typed = json!({ "text": text });
        self.command(&format!("element/{field}/value"), &typed);
    }

    /// Ticks the box with this label, or no longer.
    #[track_caller]
    pub fn tick(&self, label: &str) {
        self.click(LABELLED, &[label]);
    }

    /// Chooses this option of the list with this label.
    #[track_caller]
    pub fn choose(&self, label: &str, option: &str) {
        self.click(OPTION, &[label, option]);
    }

    /// Unfolds what has this summary.
    #[track_caller]
    pub fn unfold(&self, summary: &str) {
        self.click(SUMMARY, &[summary]);
    }

    /// Presses the button with this text, and waits for the next page.
    #[track_caller]
    pub fn press(&self, text: &str) {
        self.leave_by(BUTTON, text);
    }

    /// Presses the button with this text, which leads to no other page.
    #[track_caller]
    pub fn press_here(&self, text: &str) {
        self.click(BUTTON, &[text]);
    }

    /// Follows the link with this text, and waits for the next page.
    #[track_caller]
    pub fn follow(&self, text: &str) {
        self.leave_by(LINK, text);
    }

    /// Presses a key.
    #[track_caller]
    pub fn key(&self, key: char) {
        let strokes = ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key }));
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": strokes });
        self.command("actions", &json!({ "actions": [keyboard] }));
    }

    // What people see.

    /// The text of the page's content; none while it has none.
    pub fn text(&self) -> String {
        self.text_of("main")
    }

    /// The text of what this selector finds first; none where that is nothing.
    pub fn text_of(&self, selector: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.innerText";
        let text = self.script(script, &[selector]).unwrap_or_default();
        text.as_str().unwrap_or_default().to_owned()
    }

    /// What stands in the field with this label.
    #[track_caller]
    pub fn value(&self, label: &str) -> String {
        let value = self.script(VALUE, &[label]);
        let value = value.unwrap_or_else(|problem| panic!("{problem}"));
        let Some(value) = value.as_str() else {
            panic!("no field {label} on the page: {}", self.text());
        };
        value.to_owned()
    }

    /// The page says this, or soon does.
    #[track_caller]
    pub fn says(&self, told: &str) {
        self.waits_to_say(told, || {});
    }

    /// The page says this, or soon does where it is loaded again and again.
    #[track_caller]
    pub fn comes_to_say(&self, told: &str) {
        self.waits_to_say(told, || {
            self.command("refresh", &json!({}));
        });
    }

    /// The path of the page, with what is asked for.
    #[track_caller]
    pub fn path(&self) -> String {
        let path = self.script("return location.pathname + location.search", &[]);
        let path = path.unwrap_or_else(|problem| panic!("{problem}"));
        path.as_str().expect("a path is text").to_owned()
    }

    /// Whether what this selector finds has the focus.
    pub fn is_focused(&self, selector: &str) -> bool {
        let script = "return document.activeElement.matches(arguments[0])";
        (self.script(script, &[selector])).is_ok_and(|is_focused| is_focused == true)
    }

    // What every page is.

    /// The page keeps nobody from using it, is light, and is kept as pictures of this name.
    #[track_caller]
    pub fn judge(&self, name: &str) {
        self.axe();
        self.weighs();
        self.screenshot(name);
    }

    /// No rule of axe is broken, whether it is light or dark.
    #[track_caller]
    pub fn axe(&self) {
        self.run(&axe());
        for scheme in SCHEMES {
            self.prefer(scheme);
            let asked = json!({ "script": BARRIERS, "args": [] });
            let barriers = self.command("execute/async", &asked);
            assert_eq!(barriers, json!([]), "{scheme}, {}", self.path());
        }
        self.prefer("light");
    }

    /// All that it loads is less than a slow line minds.
    #[track_caller]
    pub fn weighs(&self) {
        let weight = self.run(WEIGHT).as_u64().expect("bytes are counted");
        let path = self.path();
        assert!(weight > 0, "{path} was not weighed");
        assert!(weight < MOST, "{path} weighs {weight} bytes");
    }

    /// Keeps how it looks, light, dark and on a phone: `NAME-light.png`, … in `target/test-screenshots/`.
    #[track_caller]
    pub fn screenshot(&self, name: &str) {
        for scheme in SCHEMES {
            self.prefer(scheme);
            self.keep(&format!("{name}-{scheme}"));
        }
        self.prefer("light");
        let phone = json!({ "width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true });
        self.devtools("Emulation.setDeviceMetricsOverride", &phone);
        self.keep(&format!("{name}-phone"));
        self.devtools("Emulation.clearDeviceMetricsOverride", &json!({}));
    }

    #[track_caller]
    fn keep(&self, name: &str) {
        let what =
            json!({ "format": "png", "captureBeyondViewport": true, "clip": self.run(WHOLE) });
        let taken = self.devtools("Page.captureScreenshot", &what);
        let picture = BASE64_STANDARD.decode(taken["data"].as_str().expect("it was taken"));
        let folder = tests().join("../target/test-screenshots");
        fs::create_dir_all(&folder).expect("the target folder can be written");
        fs::write(
            folder.join(format!("{name}.png")),
            picture.expect("it is base64"),
        )
        .expect("the target folder can be written");
    }

    /// From now on whoever sits before it prefers this.
    #[track_caller]
    fn prefer(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        let media = json!({ "media": "", "features": [feature] });
        self.devtools("Emulation.setEmulatedMedia", &media);
    }

    // How it is led.

    /// The element that a script finds.
    #[track_caller]
    fn find(&self, script: &str, arguments: &[&str]) -> String {
        let found = self.script(script, arguments);
        let id = found
            .as_ref()
            .ok()
            .and_then(|found| found[ELEMENT].as_str());
        let Some(id) = id else {
            panic!("no {arguments:?} on the page ({found:?}): {}", self.text());
        };
        id.to_owned()
    }

    /// Clicks on the element that a script finds. A page that stays up to date may put another one in its place meanwhile, which is
    /// clicked on then.
    #[track_caller]
    fn click(&self, found_by: &str, arguments: &[&str]) {
        let begin = Instant::now();
        loop {
            let element = self.find(found_by, arguments);
            let click = format!("element/{element}/click");
            match self.session.command(&click, &json!({})) {
                Ok(_) => return,
                Err(problem) if problem.contains(REPLACED) && begin.elapsed() < SOON => {}
                Err(problem) => panic!("{problem}"),
            }
        }
    }

    /// Clicks on what leads to another page, and waits until that is loaded.
    #[track_caller]
    fn leave_by(&self, found_by: &str, text: &str) {
        self.run("window.isLeft = true");
        self.click(found_by, &[text]);
        wait_until("the next page is loaded", SOON, || {
            let script = "return !window.isLeft && document.readyState === 'complete'";
            // There is none between two pages.
            let is_loaded = self.script(script, &[]).unwrap_or_default();
            (is_loaded == true).then_some(())
        });
    }

    #[track_caller]
    fn waits_to_say(&self, told: &str, between: impl Fn()) {
        let begin = Instant::now();
        loop {
            let text = self.text();
            if text.contains(told) {
                return;
            }
            assert!(begin.elapsed() < SOON, "not said, {told}: {text}");
            pause(Duration::from_millis(50));
            between();
        }
    }

    /// What a script gives, which works on every page.
    #[track_caller]
    fn run(&self, script: &str) -> Value {
        let given = self.script(script, &[]);
        given.unwrap_or_else(|problem| panic!("{problem}"))
    }

    fn script(&self, script: &str, arguments: &[&str]) -> Result<Value, String> {
        let asked = json!({ "script": script, "args": arguments });
        self.session.command("execute/sync", &asked)
    }

    #[track_caller]
    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        let asked = json!({ "cmd": command, "params": parameters });
        self.command("goog/cdp/execute", &asked)
    }

    #[track_caller]
    fn command(&self, name: &str, parameters: &Value) -> Value {
        let given = self.session.command(name, parameters);
        given.unwrap_or_else(|problem| panic!("{problem}"))
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Where the driver no longer answers, its group ends all the same.
        let _ = self.session.end();
    }
}

/// The browser is of its group, and outlives it otherwise.
impl Drop for Driver {
    fn drop(&mut self) {
        let _ = kill_process_group(self.0.pid(), Signal::KILL);
    }
}

/// On a free port, in a group of its own.
#[track_caller]
fn chromedriver() -> Command {
    let works = Command::new("chromedriver")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    assert!(
        works,
        "chromedriver is missing; `make test` installs it, as `scripts/install chromium` does"
    );
    let mut command = Command::new("chromedriver");
    command.arg("--port=0").process_group(0);
    command
}

/// Those of a browser whose profile lies there.
fn flags(profile: &Path) -> Vec<String> {
    let mut flags: Vec<String> = FLAGS.map(str::to_owned).into();
    flags.push(format!("--user-data-dir={}", profile.display()));
    // Chromium's sandbox refuses root.
    if geteuid().is_root() {
        flags.push("--no-sandbox".to_owned());
    }
    flags
}

/// The source of axe. A page's policy forbids scripts of the page, and not those of the driver.
#[track_caller]
fn axe() -> String {
    let path = tests().join("browser/node_modules/axe-core/axe.min.js");
    fs::read_to_string(path)
        .expect("axe is missing; `make test` installs it, as `scripts/install axe` does")
}

fn tests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
