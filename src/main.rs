fn main() -> std::process::ExitCode {
    agentcast::cli::main()
}
