//! What `agentcast config` prints.

use super::Config;
use super::load::{Loaded, Origin};
use super::settings::{Form, Kind, SETTINGS, Setting};
use std::fmt::Write as _;

/// All settings for a reader: names, default, what each does, whether a reload applies it.
#[must_use]
pub fn human() -> String {
    let default = Config::default();
    let mut out = String::from(
        "Flags go over environment variables, these over the TOML file (--config FILE or AGENTCAST_CONFIG), that over defaults.\n\
         SIGHUP, or a change of the file, makes a running service read it again; what says \"restart\" waits for one.\n",
    );
    let mut section = None;
    for setting in SETTINGS {
        if section != Some(setting.section()) {
            section = Some(setting.section());
            let title = if setting.section().is_empty() { "the service" } else { setting.section() };
            _ = write!(out, "\n== {title}\n");
        }
        _ = write!(out, "\n{}\n", setting.name);
        for line in wrapped(setting.what, 92) {
            _ = writeln!(out, "    {line}");
        }
        let when = if setting.reloads { "reload" } else { "restart" };
        let (env, flag, shape) = (setting.env, setting.flag(), setting.shape);
        match &setting.kind {
            Kind::Plain { show, .. } => {
                let shown = show(&default);
                let shown = if shown.is_empty() { "none" } else { &shown };
                _ = writeln!(out, "    {env}, {flag} {shape}   default: {shown}   {when}");
            }
            Kind::Secret { .. } => {
                let (name, section) = (setting.name, setting.key());
                _ = writeln!(out, "    {env}; or in a file: {env}_FILE, {flag} FILE, {section}_file   {when}");
                _ = writeln!(
                    out,
                    "    a secret: never printed, and no flag takes it ({name} in the TOML file needs mode 600)"
                );
            }
        }
    }
    out
}

/// A TOML file with every setting, commented out and at its default.
#[must_use]
pub fn toml() -> String {
    let default = Config::default();
    let mut out = String::from(
        "# Settings of agentcast serve. Every line is commented out and shows the default.\n\
         # Flags and environment variables go over this file. A file with secrets in it: chmod 600.\n",
    );
    let mut section = "";
    for setting in SETTINGS {
        if section != setting.section() {
            section = setting.section();
            _ = write!(out, "\n[{section}]\n");
        }
        out.push('\n');
        for line in wrapped(setting.what, 110) {
            _ = writeln!(out, "# {line}");
        }
        match &setting.kind {
            Kind::Plain { .. } => {
                let restart = if setting.reloads { "" } else { " Needs a restart." };
                _ = writeln!(out, "# {}: {}.{restart}", setting.env, setting.shape);
                _ = writeln!(out, "#{} = {}", setting.key(), literal(setting, &default));
            }
            Kind::Secret { .. } => {
                _ = writeln!(out, "# Secret; better in a file of its own, or in {}. Needs a restart.", setting.env);
                _ = writeln!(out, "#{}_file = \"\"", setting.key());
            }
        }
    }
    out
}

/// The settings in force as a TOML file, with where each came from; of secrets only whether they are set.
#[must_use]
pub fn effective(loaded: &Loaded) -> String {
    let mut out = String::new();
    let mut secrets = loaded.secrets.clone();
    let mut section = "";
    for setting in SETTINGS {
        if section != setting.section() {
            section = setting.section();
            _ = write!(out, "\n[{section}]\n");
        }
        let origin = loaded.origins.get(setting.name).unwrap_or(&Origin::Default);
        match &setting.kind {
            Kind::Plain { .. } => {
                _ = writeln!(out, "{} = {}  # {origin}", setting.key(), literal(setting, &loaded.config));
            }
            Kind::Secret { slot } => match slot(&mut secrets) {
                Some(_) => _ = writeln!(out, "# {}: set ({origin})", setting.key()),
                None => _ = writeln!(out, "# {}: not set", setting.key()),
            },
        }
    }
    out
}

/// A value as TOML writes it.
fn literal(setting: &Setting, config: &Config) -> String {
    let Kind::Plain { form, show, .. } = &setting.kind else { return String::new() };
    let text = show(config);
    match form {
        Form::Bare => text,
        Form::Text => quoted(&text),
        Form::List => {
            let items: Vec<_> = text.split(',').filter(|item| !item.is_empty()).map(quoted).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

/// JSON's strings are TOML's basic strings but for DEL, which TOML wants escaped.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\x7f', "\\u007f")
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::load::Inputs;
    use super::*;

    #[test]
    fn the_example_with_every_line_taken_in_reads_back_as_the_defaults() {
        let lines = toml()
            .lines()
            .map(|line| line.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(line).to_owned())
            .collect::<Vec<_>>();
        let path = std::env::temp_dir().join(format!("agentcast-example-{}.toml", std::process::id()));
        std::fs::write(&path, lines.join("\n")).unwrap();
        let loaded = Inputs { file: Some(path.clone()), ..Inputs::default() }.load();
        std::fs::remove_file(&path).unwrap();
        let loaded = loaded.unwrap();
        for setting in SETTINGS {
            assert_eq!(literal(setting, &loaded.config), literal(setting, &Config::default()), "{}", setting.name);
        }
    }
}
