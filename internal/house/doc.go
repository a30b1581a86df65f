// Package house holds the rules of the house as tests: which package may import which, where the clock and the environment may be read,
// what every package and every exported name must say about itself.
//
// There is nothing here to import. "go test ./internal/house" reads the source of the whole module and names each line that breaks
// a rule; a second test gives each rule samples that break it and samples that do not, so that no rule can go blind. The
// rules read syntax and not types: they are quick, and where that makes them blunt they are blunt on the strict side.
//
// A new package is first given its line in the plan (plan_test.go), which is the table of docs/architecture.md as code.
package house
