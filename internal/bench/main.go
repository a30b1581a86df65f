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
	only := flag.String("only", "", "measure only these, comma separated: start, issue, alone, whoami, memory, million, crl, tokens, passwords, shared")
	profile := flag.String("profile", "", "keep a profile of the daemon's processor time while it issues in this `FILE`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exit(run(ctx, *write, *only, *profile))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
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
		{"start", b.starts}, {"issue", b.issueParallel}, {"alone", b.issueAlone}, {"whoami", b.whoami}, {"memory", b.resident}, {"million", b.million}, {"crl", b.revocations}, {"tokens", b.tokens}, {"passwords", b.passwords}, {"shared", b.shared},
	} {
		if only != "" && !slices.Contains(strings.Split(only, ","), step.name) {
			continue
		}
		if err := step.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	text := b.report.markdown(fmt.Sprintf("%s, %d CPUs, %s/%s, %s", cpuModel(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version()), time.Now())
	fmt.Print(text)
	if write == "" {
		return nil
	}
	return keep(write, text)
}
