//! The service's settings on the command line: a flag for each, from the same table as everything else, and `config`.

use super::Usage;
use crate::config::explain;
use crate::config::load::{Inputs, Loaded};
use crate::config::settings::{SETTINGS, Setting};
use clap::{Arg, ArgMatches, Args, Command};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

/// Flags of the settings, and where their file is. Other commands that open the store flatten it too.
#[derive(Clone, Debug, Default)]
pub struct SettingArgs {
    flags: BTreeMap<&'static str, String>,
    file: Option<PathBuf>,
}

impl SettingArgs {
    /// Everything that the settings come from, to be loaded now and again.
    pub fn inputs(&self) -> Inputs {
        Inputs::of_process(self.flags.clone(), self.file.clone())
    }

    /// Reads the settings; exit code 2 with all that is wrong.
    pub fn load(&self) -> anyhow::Result<Loaded> {
        self.inputs().load().map_err(|errors| Usage(format!("the settings are not right:\n{errors}")).into())
    }
}

/// Words of a setting that live as long as clap wants them.
struct Words {
    flag: String,
    heading: String,
}

static WORDS: LazyLock<Vec<Words>> = LazyLock::new(|| {
    let words = |setting: &Setting| Words {
        flag: setting.flag_name(),
        heading: match setting.section() {
            "" => "Settings of the service".to_owned(),
            section => format!("Settings: {section}"),
        },
    };
    SETTINGS.iter().map(words).collect()
});

impl Args for SettingArgs {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .env("AGENTCAST_CONFIG")
            .hide_env_values(true)
            .value_parser(clap::value_parser!(PathBuf))
            .help("TOML file with settings; `agentcast config --explain --toml` writes an example");
        SETTINGS.iter().zip(&*WORDS).fold(command.arg(file), |command, (setting, words)| {
            let (shape, help) = match setting.is_secret() {
                false => (setting.shape, format!("{} [env: {}]", setting.what, setting.env)),
                true => {
                    ("FILE", format!("File that holds {}, else from the variable itself [env: {0}_FILE]", setting.env))
                }
            };
            let arg = Arg::new(setting.name).long(&*words.flag).value_name(shape).help(help);
            command.arg(arg.help_heading(&*words.heading))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for SettingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |name: &'static str| matches.get_one::<String>(name).map(|value| (name, value.clone()));
        let flags = SETTINGS.iter().filter_map(|setting| given(setting.name)).collect();
        Ok(SettingArgs { flags, file: matches.get_one::<PathBuf>("config").cloned() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[derive(Args, Debug)]
pub struct Config {
    /// Every setting: its names, default, what it does and whether a running service takes a change
    #[arg(long)]
    explain: bool,
    /// With --explain: as a TOML file to begin with
    #[arg(long, requires = "explain")]
    toml: bool,
    #[command(flatten)]
    settings: SettingArgs,
}

/// Prints the settings in force, or what there is to set.
pub fn config(args: Config) -> anyhow::Result<ExitCode> {
    let text = match (args.explain, args.toml) {
        (true, true) => explain::toml(),
        (true, false) => explain::human(),
        (false, _) => {
            let loaded = args.settings.load()?;
            for warning in &loaded.warnings {
                super::status::say!("warning: {warning}");
            }
            explain::effective(&loaded)
        }
    };
    // Whoever closed the pipe has read enough. No value of a secret is in it; a path may look like one.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}
