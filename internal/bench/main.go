package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "empty-server" {
		exit(serveEmpty(os.Args[2]))
	}
	if len(os.Args) > 4 && os.Args[1] == "etcd-server" {
		exit(serveEtcd(os.Args[2], os.Args[3], os.Args[4]))
	}
	write := flag.String("write", "", "keep the figures in this `FILE` (docs/performance.md)")
	only := flag.String("only", "", "measure only these, comma separated: start, issue, alone, whoami, memory, million, crl, chain, tokens, passwords, quotas, costs, member-costs, console, shared, cluster")
	profile := flag.String("profile", "", "keep a profile of the daemon's processor time while it issues in this `FILE`")
	against := flag.String("against", "", "measure only this `BINARY` and the one of this tree, in turns; nothing is kept")
	limit := flag.Float64("limit", 0, "with -against: fail when this tree's costs more than `RATIO` times as much")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *against != "" {
		exit(compare(ctx, *against, *limit))
	}
	exit(run(ctx, *write, *only, *profile))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// compare measures the program of this tree beside another one.
func compare(ctx context.Context, program string, limit float64) error {
	b, err := newBench(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	return b.runAgainst(ctx, program, limit)
}

// machine says what the figures were taken on.
func machine() string {
	return fmt.Sprintf("%s, %d CPUs, %s/%s, %s", cpuModel(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
}

// run measures everything, or only what is named, and prints a table of figures.
func run(ctx context.Context, write, only, profile string) error {
	b, err := newBench(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	b.profile = profile
	for _, step := range []struct {
		name    string
		measure func(context.Context) error
	}{
		{"start", b.starts}, {"issue", b.issueParallel}, {"alone", b.issueAlone}, {"whoami", b.whoami}, {"memory", b.resident}, {"million", b.million}, {"crl", b.revocations}, {"chain", b.chains}, {"tokens", b.tokens}, {"passwords", b.passwords}, {"quotas", b.quotas}, {"costs", b.costs}, {"member-costs", b.memberCosts}, {"console", b.console}, {"shared", b.shared}, {"cluster", b.cluster},
	} {
		if only != "" && !slices.Contains(strings.Split(only, ","), step.name) {
			continue
		}
		if err := step.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	text := b.report.markdown(machine(), time.Now())
	fmt.Print(text)
	if write == "" {
		return nil
	}
	return keep(write, text)
}
