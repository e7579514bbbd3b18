//! From flags, environment and file to a [`Config`] and its [`Secrets`].

use super::settings::{Kind, SETTINGS, Setting};
use super::{Config, Secrets};
use secrecy::{ExposeSecret, SecretString};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Everything that settings come from. The later ones give way: flags, environment, file.
#[derive(Clone, Default)]
pub struct Inputs {
    /// Name of a setting (for a secret: of the file it is in) → value.
    pub flags: BTreeMap<&'static str, String>,
    pub env: BTreeMap<String, String>,
    /// The TOML file.
    pub file: Option<PathBuf>,
}

/// What was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub secrets: Secrets,
    /// Name of each setting → where its value came from.
    pub origins: BTreeMap<&'static str, Origin>,
    /// What is not wrong and not right either.
    pub warnings: Vec<String>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// Path and line of the TOML file.
    File(PathBuf, usize),
    /// The variable.
    Env(String),
    /// The flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, line) => write!(f, "{} line {line}", path.display()),
            Origin::Env(name) => f.write_str(name),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}

/// All that is wrong, a line each. No line repeats a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Files of settings and secrets are small; something larger is no such file.
const FILE_BYTES: u64 = 1 << 20;

impl Inputs {
    /// The environment of this process, with what the command line says.
    pub fn of_process(flags: BTreeMap<&'static str, String>, file: Option<PathBuf>) -> Inputs {
        let env = std::env::vars_os().map(|(name, value)| {
            // One that is not UTF-8 is refused by whatever setting it is for.
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        });
        Inputs { flags, env: env.collect(), file }
    }

    /// Reads everything; the file, and those that hold secrets, anew each time.
    ///
    /// # Errors
    /// All that is wrong, at once.
    pub fn load(&self) -> Result<Loaded, ConfigErrors> {
        let mut reader = Reader { errors: Vec::new(), warnings: Vec::new() };
        let file = self.file.as_deref().map(|path| reader.file(path)).unwrap_or_default();
        let (mut config, mut secrets) = (Config::default(), Secrets::default());
        let mut origins = BTreeMap::new();
        for setting in SETTINGS {
            let origin = match &setting.kind {
                Kind::Plain { set, .. } => match self.plain(setting, &file) {
                    Some((origin, text)) => {
                        if let Err(problem) = set(&mut config, &text) {
                            reader.errors.push(complaint(&origin, setting, &problem));
                        }
                        origin
                    }
                    None => Origin::Default,
                },
                Kind::Secret { slot } => match self.secret(setting, &file, &mut reader) {
                    Some((origin, secret)) => {
                        *slot(&mut secrets) = Some(secret);
                        origin
                    }
                    None => Origin::Default,
                },
            };
            origins.insert(setting.name, origin);
        }
        self.warn_of_strays(&mut reader);
        secrets.register();
        if let Some(url) = &secrets.database {
            let url = url.expose_secret();
            if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
                let origin = origins.get("database").cloned().unwrap_or(Origin::Default);
                let words = "expected postgres://user:password@host/name; without it the store is SQLite in data_dir";
                reader.errors.push(format!("{origin}: {words}"));
            }
        }
        if reader.errors.is_empty() {
            Ok(Loaded { config, secrets, origins, warnings: reader.warnings })
        } else {
            Err(ConfigErrors(reader.errors))
        }
    }

    /// An environment variable; one that is empty is not set, as in an `.env` file with a line left open.
    fn variable(&self, name: &str) -> Option<(Origin, String)> {
        let text = self.env.get(name)?.trim();
        (!text.is_empty()).then(|| (Origin::Env(name.to_owned()), text.to_owned()))
    }

    fn plain(&self, setting: &Setting, file: &File) -> Option<(Origin, String)> {
        let flag = self.flags.get(setting.name).map(|text| (Origin::Flag(setting.flag()), text.trim().to_owned()));
        flag.or_else(|| self.variable(setting.env)).or_else(|| file.get(setting.name))
    }

    fn secret(&self, setting: &Setting, file: &File, reader: &mut Reader) -> Option<(Origin, SecretString)> {
        let flag = self.flags.get(setting.name).map(|path| (Origin::Flag(setting.flag()), path.clone()));
        let env = (self.variable(setting.env), self.variable(&format!("{}_FILE", setting.env)));
        let toml = (file.get(setting.name), file.get(&format!("{}_file", setting.name)));
        for (text, path) in [(None, flag), env, toml] {
            match (text, path) {
                (Some((one, _)), Some((other, _))) => {
                    reader.errors.push(format!("{one} and {other}: set one of them"));
                    return None;
                }
                (Some((origin, text)), None) => return Some((origin, SecretString::from(text))),
                (None, Some((origin, path))) => {
                    let secret = reader.secret(&origin, Path::new(&path))?;
                    return Some((origin, secret));
                }
                (None, None) => {}
            }
        }
        None
    }

    /// A misspelt variable would be passed over in silence.
    fn warn_of_strays(&self, reader: &mut Reader) {
        // Those of other commands, and of whoever calls the service, as the examples do.
        let others =
            ["AGENTCAST_CONFIG", "AGENTCAST_STREAM_KEY", "AGENTCAST_SKIP_PACKAGES", "AGENTCAST_URL", "AGENTCAST_KEY"];
        for name in self.env.keys().filter(|name| name.starts_with("AGENTCAST_")) {
            let known = SETTINGS.iter().any(|setting| {
                setting.env == name || setting.is_secret() && name.strip_suffix("_FILE") == Some(setting.env)
            });
            if !known && !others.contains(&name.as_str()) {
                let near = nearest(name, SETTINGS.iter().map(|setting| setting.env));
                let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                reader.warnings.push(format!("{name} in the environment is no setting{near}"));
            }
        }
    }
}

fn complaint(origin: &Origin, setting: &Setting, problem: &str) -> String {
    match origin {
        Origin::Flag(_) => format!("{origin}: {problem}"),
        _ => format!("{origin} ({}): {problem}", setting.name),
    }
}

/// Values of the TOML file: name → line and text.
#[derive(Default)]
struct File {
    path: PathBuf,
    values: HashMap<String, (usize, String)>,
}

impl File {
    fn get(&self, name: &str) -> Option<(Origin, String)> {
        let (line, text) = self.values.get(name)?;
        // Left open, as in the example.
        (!text.is_empty()).then(|| (Origin::File(self.path.clone(), *line), text.clone()))
    }
}

struct Reader {
    errors: Vec<String>,
    warnings: Vec<String>,
}

impl Reader {
    fn file(&mut self, path: &Path) -> File {
        let mut file = File { path: path.to_owned(), values: HashMap::new() };
        let text = match read(path) {
            Ok(text) => text,
            Err(problem) => {
                self.errors.push(format!("{}: {problem}", path.display()));
                return file;
            }
        };
        let line_of = |at: usize| text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
        match DeTable::parse(&text) {
            Ok(table) => self.table(table.get_ref(), "", &line_of, &mut file),
            Err(error) => {
                // Its `Display` shows the line itself, which may hold a secret.
                let line = error.span().map_or(1, |span| line_of(span.start));
                self.errors.push(format!("{} line {line}: {}", path.display(), error.message()));
            }
        }
        let secret = |name: &str| SETTINGS.iter().any(|s| s.is_secret() && s.name == name);
        if file.values.iter().any(|(name, (_, text))| secret(name) && !text.is_empty()) {
            self.warn_if_readable(path, "it holds secrets");
        }
        file
    }

    fn table(&mut self, table: &DeTable<'_>, section: &str, line_of: &dyn Fn(usize) -> usize, file: &mut File) {
        for (key, value) in table.iter() {
            let name =
                if section.is_empty() { key.get_ref().to_string() } else { format!("{section}.{}", key.get_ref()) };
            let line = line_of(key.span().start);
            if let DeValue::Table(inner) = value.get_ref() {
                self.table(inner, &name, line_of, file);
                continue;
            }
            let known = SETTINGS.iter().any(|setting| {
                setting.name == name || setting.is_secret() && name.strip_suffix("_file") == Some(setting.name)
            });
            let place = format!("{} line {line}", file.path.display());
            if !known {
                let near = nearest(&name, SETTINGS.iter().map(|setting| setting.name));
                let near = near.map_or("; `agentcast config --explain` lists all".to_owned(), |near| {
                    format!("; did you mean {near}?")
                });
                self.errors.push(format!("{place}: there is no setting {}{near}", printable(&name)));
                continue;
            }
            match text_of(value.get_ref()) {
                Ok(text) => _ = file.values.insert(name, (line, text.trim().to_owned())),
                Err(problem) => self.errors.push(format!("{place} ({name}): {problem}")),
            }
        }
    }

    fn secret(&mut self, origin: &Origin, path: &Path) -> Option<SecretString> {
        match read(path) {
            Ok(text) if text.trim().is_empty() => {
                self.errors.push(format!("{origin}: {} is empty", path.display()));
                None
            }
            Ok(text) => {
                self.warn_if_readable(path, "it is a secret");
                Some(SecretString::from(text.trim()))
            }
            Err(problem) => {
                self.errors.push(format!("{origin}: {}: {problem}", path.display()));
                None
            }
        }
    }

    fn warn_if_readable(&mut self, path: &Path, why: &str) {
        let mode = std::fs::metadata(path).map_or(0, |about| about.permissions().mode());
        if mode & 0o007 != 0 {
            let path = path.display();
            self.warnings.push(format!("{path} can be read by everybody on this host, and {why}: chmod 600 {path}"));
        }
    }
}

/// Text of a small file. The error does not name it.
fn read(path: &Path) -> Result<String, String> {
    let about = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if about.is_dir() {
        return Err("it is a folder".into());
    }
    if about.len() > FILE_BYTES {
        return Err(format!("it is larger than {} KiB", FILE_BYTES / 1_024));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
}

/// A value as the environment would write it.
fn text_of(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Ok(flag.to_string()),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) if !text.contains(',') => Ok(text.to_string()),
                _ => Err("expected a list of texts".to_owned()),
            });
            Ok(texts.collect::<Result<Vec<_>, _>>()?.join(","))
        }
        _ => Err("expected a text, a number, true, false or a list of texts".into()),
    }
}

/// A name that came from outside, fit for a terminal.
fn printable(name: &str) -> String {
    name.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The name that was probably meant: close in letters, or the same last part.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let close = names.filter_map(|known| {
        if last(known) == last(name) {
            return Some((0, known));
        }
        // Whole words that both begin with make them no more alike: `AGENTCAST_` would make all of them so.
        let differs = name.chars().count() - shared_words(name, known);
        let distance = distance(name, known);
        (distance <= (differs / 3).max(1)).then_some((distance, known))
    });
    Some(close.min_by_key(|(distance, _)| *distance)?.1)
}

/// Characters of the words that both names begin with, separators included.
fn shared_words(a: &str, b: &str) -> usize {
    let shared: Vec<char> = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c).collect();
    shared.iter().rposition(|c| matches!(c, '.' | '_')).map_or(0, |at| at + 1)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate().take(200) {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
