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
	"omca/internal/object"
	"omca/internal/store/bolt"
	"omca/pki"
)

// million compares what a certificate costs beside a thousand others and
// beside a million.
func (b *bench) million(ctx context.Context) error {
	const n = 1000
	requests, err := makeRequests(n)
	if err != nil {
		return err
	}
	var each [2]usage
	for i, size := range []int{1000, 1_000_000} {
		if each[i], err = b.costAt(ctx, size, requests); err != nil {
			return err
		}
	}
	how := fmt.Sprintf("server CPU of %d requests over %d connections; the inventory was filled through the store", n, connections)
	b.report.add("cost beside 1,000,000 certificates / beside 1,000", "at most 1.5", how, "%.2f", float64(each[1].cpu)/float64(each[0].cpu))
	b.report.add("bytes written per certificate beside 1,000,000", "at most 20 kB", how, "%.1f kB (beside 1,000: %.1f kB)", float64(each[1].written)/1000, float64(each[0].written)/1000)
	return nil
}

func (b *bench) costAt(ctx context.Context, size int, requests [][]byte) (usage, error) {
	name := fmt.Sprintf("inventory%d", size)
	d, _, err := b.start(ctx, name) // makes the home
	if err != nil {
		return usage{}, err
	}
	if err := d.stop(); err != nil {
		return usage{}, err
	}
	if err := fill(ctx, d.home, size); err != nil {
		return usage{}, err
	}
	if d, _, err = b.start(ctx, name); err != nil {
		return usage{}, err
	}
	defer d.stop() // the figures are what counts
	l, err := d.newLoad(connections)
	if err != nil {
		return usage{}, err
	}
	defer l.close()
	if err := l.issue(ctx, requests[:200]); err != nil {
		return usage{}, err
	}
	u, _, err := l.perCertificate(ctx, requests)
	return u, err
}

// fill puts n records into the inventory of a home whose daemon is stopped.
// They are one certificate under many serials: the store does not look inside.
func fill(ctx context.Context, home string, n int) error {
	db, err := bolt.Open(ctx, bolt.Config{Path: filepath.Join(home, "omca.db")})
	if err != nil {
		return err
	}
	defer db.Close()
	master, err := object.OpenFileMaster(filepath.Join(home, "seal.key"))
	if err != nil {
		return err
	}
	objects, err := object.OpenStore(ctx, object.StoreConfig{Store: db, Master: master, Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
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
				errs[w] = objects.Commit(ctx, ca.Change{Records: records(floor.ca, min(batch, n-done), done)})
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
func records(cert *x509.Certificate, n, from int) []ca.Record {
	all := make([]ca.Record, n)
	for i := range all {
		serial, err := pki.NewSerial()
		if err != nil {
			return nil
		}
		c := *cert
		c.SerialNumber = serial.Int()
		c.NotAfter = cert.NotAfter.AddDate(-9, 0, 0).Add(time.Duration(from+i) * time.Second)
		all[i] = ca.Record{
			Certificate: &c, Issuer: ca.PathCA, Owner: fmt.Sprintf("system/usr/u%d", (from+i)%5000), Profile: ca.ProfileUser, By: "bench", IssuedAt: cert.NotBefore,
		}
	}
	return all
}
