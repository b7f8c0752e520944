// Go's client over TLS: goclient_tls URL CA-FILE. Requests side by side on kept and on new connections, and one whose
// sending side ends with a close_notify behind the request. It prints "ok", or what was wrong.
package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
)

func main() {
	pem, err := os.ReadFile(os.Args[2])
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for _, maximum := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := &tls.Config{
			RootCAs: roots, MaxVersion: maximum, ClientSessionCache: tls.NewLRUClientSessionCache(8),
		}
		for _, kept := range []bool{true, false} {
			requests(os.Args[1], config, kept)
		}
		halfClose(os.Args[1], config)
	}
	fmt.Println("ok")
}

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func requests(base string, config *tls.Config, kept bool) {
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: !kept, ForceAttemptHTTP2: true}
	client := &http.Client{Transport: transport}
	var all sync.WaitGroup
	for worker := 0; worker < 4; worker++ {
		all.Add(1)
		go func(random *rand.Rand) {
			defer all.Done()
			for i := 0; i < 15; i++ {
				body := make([]byte, random.Intn(200_000))
				random.Read(body)
				response, err := client.Post(base+"/body", "application/octet-stream", bytes.NewReader(body))
				check(err)
				said, err := io.ReadAll(response.Body)
				check(err)
				response.Body.Close()
				if expected := fmt.Sprintf("%d %x", len(body), sha256.Sum256(body)); string(said) != expected {
					check(fmt.Errorf("%s: expected %s", said, expected))
				}
				if state := response.TLS; state == nil || state.NegotiatedProtocol != "http/1.1" {
					check(fmt.Errorf("unexpected protocol: %v", state))
				}
			}
		}(rand.New(rand.NewSource(int64(worker))))
	}
	all.Wait()
	transport.CloseIdleConnections()
}

func halfClose(base string, config *tls.Config) {
	address, err := url.Parse(base)
	check(err)
	connection, err := tls.Dial("tcp", address.Host, config)
	check(err)
	fmt.Fprintf(connection, "GET /slow?0.2 HTTP/1.1\r\nHost: a\r\n\r\n")
	check(connection.CloseWrite())
	said, err := io.ReadAll(connection)
	check(err)
	if !strings.HasSuffix(string(said), "\r\n\r\nhello") {
		check(fmt.Errorf("half closed: %q", said))
	}
}
