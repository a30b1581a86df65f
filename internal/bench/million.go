package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"omca/ca"
	"omca/internal/registry"
	"omca/internal/seal"
	"omca/internal/store/bolt"
	"omca/pki"
)

// million compares what a certificate costs beside a thousand others and
// beside a million: two daemons, asked in turn.
func (b *bench) million(ctx context.Context) error {
	const n, rounds = 1000, 7
	requests, err := makeRequests(n)
	if err != nil {
		return err
	}
	var loads [2]*load
	for i, size := range []int{1000, 1_000_000} {
		d, err := b.startFull(ctx, size)
		if err != nil {
			return err
		}
		defer d.stop() // the figures are what counts
		if loads[i], err = d.newLoad(connections); err != nil {
			return err
		}
		defer loads[i].close()
		// The first look at the metrics counts the inventory, once in the life of a daemon.
		if _, err := d.usage(); err != nil {
			return err
		}
		if err := loads[i].issue(ctx, requests); err != nil {
			return err
		}
	}
	var cpu []float64
	var written [2][]int64
	for range rounds {
		var each [2]usage
		for i, l := range loads {
			if each[i], _, err = l.perCertificate(ctx, requests); err != nil {
				return err
			}
			written[i] = append(written[i], each[i].written)
		}
		cpu = append(cpu, float64(each[1].cpu)/float64(each[0].cpu))
	}
	how := fmt.Sprintf("two daemons in turn, %d rounds of %d requests over %d connections, median, each inventory growing by as many; it was filled through the store", rounds, n, connections)
	few, many := float64(median(written[0])), float64(median(written[1]))
	b.report.add("cost beside 1,000,000 certificates / beside 1,000: server CPU", "at most 1.5", how, "%.2f", median(cpu))
	b.report.add("cost beside 1,000,000 certificates / beside 1,000: bytes written", "at most 1.5", how, "%.2f (%.1f kB / %.1f kB)", many/few, many/1000, few/1000)
	return nil
}

// startFull starts a daemon with so many records in its inventory.
func (b *bench) startFull(ctx context.Context, size int) (*daemon, error) {
	name := fmt.Sprintf("inventory%d", size)
	d, _, err := b.start(ctx, name) // makes the home
	if err != nil {
		return nil, err
	}
	if err := d.stop(); err != nil {
		return nil, err
	}
	if err := fill(ctx, d.home, size); err != nil {
		return nil, err
	}
	d, _, err = b.start(ctx, name)
	return d, err
}

// fill puts n records into the inventory of a home whose daemon is stopped.
// They are one certificate under many serials: the store does not look inside.
func fill(ctx context.Context, home string, n int) error {
	db, err := bolt.Open(ctx, bolt.Config{Path: filepath.Join(home, "omca.db")})
	if err != nil {
		return err
	}
	defer db.Close()
	master, err := seal.OpenFileMaster(filepath.Join(home, "seal.key"))
	if err != nil {
		return err
	}
	objects, err := registry.OpenStore(ctx, registry.StoreConfig{Store: db, Master: master, Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		return err
	}
	floor, err := newBare()
	if err != nil {
		return err
	}
	const workers, batch = 16, 30
	errs := make([]error, workers)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for done := w * batch; done < n && errs[w] == nil; done += workers * batch {
				var some []ca.Record
				if some, errs[w] = records(floor.ca, min(batch, n-done), done); errs[w] == nil {
					errs[w] = objects.Commit(ctx, ca.Change{Records: some})
				}
			}
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// records are n records that expire one after another.
func records(cert *x509.Certificate, n, from int) ([]ca.Record, error) {
	all := make([]ca.Record, n)
	for i := range all {
		c := *cert
		c.NotAfter = cert.NotAfter.AddDate(-9, 0, 0).Add(time.Duration(from+i) * time.Second)
		serial, err := pki.NewSerial(c.NotAfter.AddDate(-1, 0, 0))
		if err != nil {
			return nil, err
		}
		c.SerialNumber = serial.Int()
		all[i] = ca.Record{
			Certificate: &c, Issuer: ca.PathCA, Owner: fmt.Sprintf("system/usr/u%d", (from+i)%5000), Profile: ca.ProfileUser, By: "bench", IssuedAt: cert.NotBefore,
		}
	}
	return all, nil
}
