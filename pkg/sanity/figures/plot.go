package figures

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"text/template"
)

//go:embed plot.svg.tmpl
var drawing string

// SVG draws the latency of a prepare against the number of claims that are prepared already, p50 as a thick line and
// p99 as a thin one, both axes logarithmic, with no claims at all at the left end. It is one file without outside
// references, and follows the reader's light or dark mode. A report without such latencies is an error.
func SVG(w io.Writer, r Report) error {
	p := plot{
		Title: "Latency of a prepare, by what is prepared already", Width: 800, Height: 480,
		Left: 76, Right: 776, Top: 104, Bottom: 420,
	}
	p.Subtitle = fmt.Sprintf("%s, %d cores, Kubernetes %s, %s", r.Machine.CPU, r.Machine.Cores, r.Kubernetes,
		r.Began.Format("2006-01-02"))
	curves := r.curves()
	x, y := extent(curves)
	if len(x) == 0 {
		return errors.New(`draw the plot: the report has no latency of "prepare" in the workload "prepared"; run that, too`)
	}
	across, up := p.scale(x, y)
	p.draw(curves, across, up)
	t, err := template.New("plot").Parse(drawing)
	if err != nil {
		return fmt.Errorf("draw the plot: %w", err)
	}
	if err := t.Execute(w, p); err != nil {
		return fmt.Errorf("write the plot: %w", err)
	}
	return nil
}

// plot is what the template says in SVG. Lengths are in pixels, from the upper left corner.
type plot struct {
	Title, Subtitle          string
	Width, Height            int
	Left, Right, Top, Bottom int // of the field
	X, Y                     []tick
	Curves                   []drawn
}

type tick struct {
	At    float64
	Label string // empty: a finer line without a number
}

type drawn struct {
	Name, Class string
	Stroke      float64
	Points      []point
	KeyX, KeyY  int
}

type point struct{ X, Y float64 }

// The template asks for these.
func (p plot) Across() int { return p.Right - p.Left }
func (p plot) Down() int   { return p.Bottom - p.Top }
func (p plot) Middle() int { return (p.Left + p.Right) / 2 }
func (p plot) Centre() int { return (p.Top + p.Bottom) / 2 }

// curve is a percentile of a driver: milliseconds by the number of prepared claims.
type curve struct {
	name   string
	rival  bool
	thick  bool
	points []point
}

func (r Report) curves() (curves []curve) {
	for _, d := range r.Drivers {
		p50 := curve{name: "p50", rival: d.Rival, thick: true}
		p99 := curve{name: "p99: " + d.Name, rival: d.Rival}
		for _, m := range r.Measurements {
			ours := m.Workload == "prepared" && m.Operation == "prepare" && m.Driver == d.Name
			if !ours || m.Latency == nil || m.Latency.P50 <= 0 { // a logarithm wants more than nothing
				continue
			}
			n := float64(m.Situation.Prepared)
			p50.points = append(p50.points, point{n, float64(m.Latency.P50)})
			p99.points = append(p99.points, point{n, float64(m.Latency.P99)})
		}
		curves = append(curves, p50, p99)
	}
	for _, c := range curves {
		slices.SortFunc(c.points, func(a, b point) int { return int(a.X - b.X) })
	}
	return curves
}

// extent is every number of claims, in their order, and the least and the greatest latency.
func extent(curves []curve) (claims []float64, latency [2]float64) {
	latency = [2]float64{math.Inf(1), 0}
	for _, c := range curves {
		for _, p := range c.points {
			claims = append(claims, p.X)
			latency[0], latency[1] = min(latency[0], p.Y), max(latency[1], p.Y)
		}
	}
	slices.Sort(claims)
	return slices.Compact(claims), latency
}

// scale sets the ticks and returns where a number of claims and a latency are in the field.
func (p *plot) scale(claims []float64, latency [2]float64) (across, up func(float64) float64) {
	least := 1.0 // the least number above 0, one decade to the right of it
	if i := slices.IndexFunc(claims, func(n float64) bool { return n > 0 }); i >= 0 {
		least = claims[i]
	}
	place := func(n float64) float64 {
		if n == 0 {
			return math.Log10(least) - 1
		}
		return math.Log10(n)
	}
	const margin = 0.05
	x0, x1 := place(claims[0]), place(claims[len(claims)-1])
	x0, x1 = x0-margin*(x1-x0+1), x1+margin*(x1-x0+1)
	across = func(n float64) float64 { return pixel(p.Left, p.Right, (place(n)-x0)/(x1-x0)) }
	for _, n := range claims {
		p.X = append(p.X, tick{across(n), count(n)})
	}
	// Less than a decade would make noise look like growth.
	steps := steps(latency[0], max(latency[1], 10*latency[0]))
	y0, y1 := math.Log10(steps[0]), math.Log10(steps[len(steps)-1])
	up = func(ms float64) float64 { return pixel(p.Bottom, p.Top, (math.Log10(ms)-y0)/(y1-y0)) }
	for _, step := range steps {
		t := tick{At: up(step)}
		if y1-y0 <= 2.5 || isDecade(step) {
			t.Label = fmt.Sprintf("%.6g", step)
		}
		p.Y = append(p.Y, t)
	}
	return across, up
}

func (p *plot) draw(curves []curve, across, up func(float64) float64) {
	for i, c := range curves {
		d := drawn{Name: c.name, Class: "driver", Stroke: 1.2, KeyX: p.Left + 76*(i%2), KeyY: 66 + 18*(i/2)}
		if c.rival {
			d.Class = "rival"
		}
		if c.thick {
			d.Stroke = 3
		}
		for _, at := range c.points {
			d.Points = append(d.Points, point{across(at.X), up(at.Y)})
		}
		p.Curves = append(p.Curves, d)
	}
}

// steps are 1, 2, 5 of each decade, from the last below the range to the first above it.
func steps(least, greatest float64) (all []float64) {
	for decade := math.Floor(math.Log10(least)); ; decade++ {
		for _, digit := range []float64{1, 2, 5} {
			step := digit * math.Pow(10, decade)
			if step <= least {
				all = all[:0]
			}
			all = append(all, step)
			if step > greatest {
				return all
			}
		}
	}
}

func isDecade(step float64) bool {
	exponent := math.Log10(step)
	return math.Abs(exponent-math.Round(exponent)) < 1e-9
}

// pixel is so far on the way from one place to another, to a tenth.
func pixel(from, to int, part float64) float64 {
	return math.Round(10*(float64(from)+part*float64(to-from))) / 10
}
