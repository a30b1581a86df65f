package main

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"
)

// console measures pages beside a hundred thousand certificates: what the server
// works for one, and how long a visitor alone waits for it.
func (b *bench) console(ctx context.Context) error {
	const certificates, n = 100_000, 60
	d, err := b.startFull(ctx, certificates)
	if err != nil {
		return err
	}
	defer d.stop() // the figures are what counts
	c := d.http()
	defer c.CloseIdleConnections()
	// The first look at the metrics counts the inventory, and the first page is when the templates are read.
	if _, err := d.usage(); err != nil {
		return err
	}
	serial, err := d.someSerial(c)
	if err != nil {
		return err
	}
	how := fmt.Sprintf("one visitor with a client certificate, %d requests one after another, beside %d certificates; the CPU time of the daemon for one, and the median time until the last byte", n, certificates)
	for _, page := range []struct{ name, at, bound string }{
		{"the overview", "/", "at most 50 ms"},
		{"the first page of certificates", "/certificates", "at most 50 ms"},
		{"a certificate found by its serial number", "/certificates?search=" + serial, "under 5 ms"},
		{"a part of a serial number, not found in the first 20,000", "/certificates?search=ffffffffffff", "–"},
		{"an answer of /whoami, for comparison", "/whoami", "–"},
	} {
		if _, err := fetch(c, "https://"+d.address+page.at); err != nil {
			return err
		}
		before, err := processUsage(d.cmd.Process.Pid)
		if err != nil {
			return err
		}
		var took []time.Duration
		for range n {
			begin := time.Now()
			if _, err := fetch(c, "https://"+d.address+page.at); err != nil {
				return err
			}
			took = append(took, time.Since(begin))
		}
		after, err := processUsage(d.cmd.Process.Pid)
		if err != nil {
			return err
		}
		b.report.add("console: "+page.name, page.bound, how, "%s CPU, %s until it is there", milliseconds((after.cpu-before.cpu)/n), milliseconds(median(took)))
	}
	size, err := firstVisit(c, "https://"+d.address)
	if err != nil {
		return err
	}
	b.report.add("console: bytes of a first visit to the overview, with all files", "at most 100 kB", "as a browser asks for them", "%.1f kB", float64(size)/1000)
	return nil
}

// someSerial is the serial number of a certificate that is not among the first of the inventory.
func (d *daemon) someSerial(c *http.Client) (string, error) {
	text, err := fetch(c, "https://"+d.address+"/api/certificate?owner=system/usr/u4999&limit=2")
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`"serial":\s*"([0-9a-f]+)"`).FindAllSubmatch(text, -1)
	if len(found) < 2 {
		return "", fmt.Errorf("no second certificate of u4999: %s", text)
	}
	return string(found[1][1]), nil
}

// fetch reads an answer that went well.
func fetch(c *http.Client, address string) ([]byte, error) {
	r, err := c.Get(address)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", address, r.Status)
	}
	return body, err
}

// firstVisit is how much a browser reads that has nothing yet: the page, and the
// files that it names, compressed as the server has them.
func firstVisit(c *http.Client, server string) (int, error) {
	page, err := fetch(c, server+"/")
	if err != nil {
		return 0, err
	}
	size := len(page)
	for _, file := range regexp.MustCompile(`(?:src|href)="(/static/[^"]+)"`).FindAllSubmatch(page, -1) {
		plain, err := fetch(c, server+string(file[1])) // the client has asked for gzip, and unpacked it
		if err != nil {
			return 0, err
		}
		packed, err := packedSize(plain)
		if err != nil {
			return 0, err
		}
		size += packed
	}
	return size, nil
}

func packedSize(plain []byte) (int, error) {
	n := counter(0)
	z, err := gzip.NewWriterLevel(&n, gzip.BestCompression)
	if err != nil {
		return 0, err
	}
	if _, err := z.Write(plain); err != nil {
		return 0, err
	}
	if err := z.Close(); err != nil {
		return 0, err
	}
	return int(n), nil
}

// counter counts what is written to it.
type counter int

// Write implements [io.Writer].
func (n *counter) Write(p []byte) (int, error) {
	*n += counter(len(p))
	return len(p), nil
}
