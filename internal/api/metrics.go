package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"omca/internal/wire"
)

// metrics is what the door counts. They live in a registry of their own.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	issued   *prometheus.CounterVec
	page     http.Handler
}

func newMetrics(c Config) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "omca_http_requests_total", Help: "Requests by operation and status.",
		}, []string{"operation", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "omca_http_request_duration_seconds", Help: "Time to answer a request, by operation.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
		}, []string{"operation"}),
		issued: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "omca_certificates_issued_total", Help: "Certificates that callers asked for and got, by profile.",
		}, []string{"profile"}),
	}
	registry := prometheus.NewRegistry()
	all := append([]prometheus.Collector{
		m.requests, m.seconds, m.issued, &facts{status: c.Status}, &listFacts{c},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}, c.Collectors...)
	for _, collector := range all {
		if err := registry.Register(collector); err != nil {
			return nil, err
		}
	}
	// A scrape goes on without what could not be gathered.
	m.page = promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	return m, nil
}

// served counts one exchange. Requests that no route took have the operation "none".
func (m *metrics) served(x *exchange, took time.Duration) {
	operation := x.operation
	if operation == "" {
		operation = "none"
	}
	m.requests.WithLabelValues(operation, strconv.Itoa(x.status)).Inc()
	m.seconds.WithLabelValues(operation).Observe(took.Seconds())
}

// facts asks for the status when the metrics are read.
type facts struct {
	status func(context.Context) (wire.Status, error)
}

func (f *facts) expiry() *prometheus.Desc {
	return prometheus.NewDesc("omca_certificate_not_after_seconds", "When the certificate expires, in seconds since 1970.", []string{"certificate"}, nil)
}

func (f *facts) inventory() *prometheus.Desc {
	return prometheus.NewDesc("omca_certificates", "Certificates in the inventory.", nil, nil)
}

// Describe is prometheus.Collector.Describe.
func (f *facts) Describe(out chan<- *prometheus.Desc) {
	out <- f.expiry()
	out <- f.inventory()
}

// Collect is prometheus.Collector.Collect.
func (f *facts) Collect(out chan<- prometheus.Metric) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := f.status(ctx)
	if err != nil {
		// The text is for the log, which the status writes itself.
		out <- prometheus.NewInvalidMetric(f.inventory(), errors.New("the status is not known"))
		return
	}
	out <- prometheus.MustNewConstMetric(f.inventory(), prometheus.GaugeValue, float64(s.Certificates))
	for name, at := range map[string]time.Time{"ca": s.CANotAfter, "listener": s.ListenerNotAfter} {
		if !at.IsZero() {
			out <- prometheus.MustNewConstMetric(f.expiry(), prometheus.GaugeValue, float64(at.Unix()), name)
		}
	}
}

// listFacts asks for the revocation lists when the metrics are read. What a
// source or a CA has in several lists is one line: of the worst of them.
type listFacts struct{ config Config }

// listLine is what is told of one CA of ours, or of one source.
type listLine struct {
	issued, next time.Time // the oldest and the soonest; zero without a list
	entries      int
	failed       bool
}

func listDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("omca_crl_"+name, help, []string{"ca", "authority", "source"}, nil)
}

func (*listFacts) age() *prometheus.Desc {
	return listDesc("age_seconds", "Time since the revocation list was issued.")
}

func (*listFacts) next() *prometheus.Desc {
	return listDesc("next_update_seconds", "When the revocation list lapses, in seconds since 1970.")
}

func (*listFacts) entries() *prometheus.Desc {
	return listDesc("entries", "Certificates on the revocation list.")
}

func (*listFacts) failed() *prometheus.Desc {
	return listDesc("error", "1 when the revocation list could not be had at the last attempt, or is past its next update.")
}

// Describe is prometheus.Collector.Describe.
func (f *listFacts) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{f.age(), f.next(), f.entries(), f.failed()} {
		out <- d
	}
}

// Collect is prometheus.Collector.Collect.
func (f *listFacts) Collect(out chan<- prometheus.Metric) {
	now := f.config.Now()
	lines := make(map[[3]string]listLine)
	for _, l := range f.config.lists(context.Background(), now) {
		name := [3]string{l.CA, l.Authority, l.Source}
		lines[name] = lines[name].with(l)
	}
	for name, line := range lines {
		gauge := func(d *prometheus.Desc, v float64) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, name[0], name[1], name[2])
		}
		failed := 0.0
		if line.failed {
			failed = 1
		}
		gauge(f.failed(), failed)
		gauge(f.entries(), float64(line.entries))
		if !line.issued.IsZero() {
			gauge(f.age(), now.Sub(line.issued).Seconds())
		}
		if !line.next.IsZero() {
			gauge(f.next(), float64(line.next.Unix()))
		}
	}
}

// with adds one list to the line.
func (l listLine) with(list wire.CRL) listLine {
	if at := list.ThisUpdate; at != nil && (l.issued.IsZero() || at.Before(l.issued)) {
		l.issued = *at
	}
	if at := list.NextUpdate; at != nil && (l.next.IsZero() || at.Before(l.next)) {
		l.next = *at
	}
	l.entries += list.Entries
	l.failed = l.failed || list.LastError != "" || list.State != "fresh"
	return l
}
