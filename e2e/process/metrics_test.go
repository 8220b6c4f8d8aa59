package process

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
)

// metrics returns the driver's figures by name, labels included.
func (r *rig) metrics(ctx context.Context) (map[string]string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.http+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	all := map[string]string{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok && name != "#" {
			all[name] = value
		}
	}
	return all, lines.Err()
}

// metric says what is wrong with a figure.
func (r *rig) metric(ctx context.Context, name, value string) error {
	all, err := r.metrics(ctx)
	if err != nil {
		return err
	}
	if all[name] != value {
		return fmt.Errorf("%s is %q, expected %q", name, all[name], value)
	}
	return nil
}
