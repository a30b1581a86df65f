// Command omca is the command line of omca: a small certificate authority with its users, its secrets and its listener.
//
// This is the only place that reads flags, the environment and the clock, and that decides the exit status. It decides nothing
// else: every command but "daemon run" is one or a few calls of the API, over the network, the daemon's unix socket, or in
// process when no daemon runs, and the answer printed.
//
// Conventions: data goes to stdout, and only once a command has succeeded; errors and hints go to stderr, from one place
// (errors.go). The grammar (which words, which flags) is in grammar.go; each verb is in the file named after its family.
package main
