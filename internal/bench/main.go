package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"time"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "empty-server" {
		exit(serveEmpty(os.Args[2]))
	}
	write := flag.String("write", "", "keep the figures in this `FILE` (docs/performance.md)")
	million := flag.Bool("million", false, "also measure with a million certificates in the inventory (minutes)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exit(run(ctx, *write, *million))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run measures everything and prints a table of figures.
func run(ctx context.Context, write string, million bool) error {
	b, err := newBench(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	steps := []func(context.Context) error{b.starts, b.issueParallel, b.issueAlone, b.whoami, b.resident}
	if million {
		steps = append(steps, b.million)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	text := b.report.markdown(fmt.Sprintf("%s, %d CPUs, %s/%s, %s", cpuModel(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version()), time.Now())
	fmt.Print(text)
	if write == "" {
		return nil
	}
	return keep(write, text)
}
