# Redraw with `gnuplot accuracy_vs_budget.gp` in the folder that holds this, style.gp and the data.
load 'style.gp'
data = 'accuracy_vs_budget.tsv'

# One pass over the rows: the policies, what full reached, ranges, budgets, the title.
policies = ''; budgets = ''; model = ''; dataset = ''
full = NaN; full_lo = NaN; full_hi = NaN; any_grown = 0
n_min = 1e18; n_max = 0
kept_min = 1e18; kept_max = 0; budget_min = 1e18; budget_max = 0
has(list, word) = strstrt(' '.list.' ', ' '.word.' ') > 0
grown(b, e) = b == b && e == e && e > b
note_policy(p) = (p eq 'full' || has(policies, p)) ? 0 : (policies = policies.' '.p, 0)
note_budget(b) = (b != b || has(budgets, sprintf('%.0f', b))) ? 0 : (budgets = budgets.sprintf(' %.0f', b), 0)
note_full(p, a, l, h) = p eq 'full' ? (full = a, full_lo = l, full_hi = h, 0) : 0
note_grown(b, e) = grown(b, e) ? (any_grown = 1, 0) : 0
note_text(m, d) = (model = m, dataset = d, 0)
note_n(n) = (n_min = n < n_min ? n : n_min, n_max = n > n_max ? n : n_max, 0)
note_kept(k) = (kept_min = k < kept_min ? k : kept_min, kept_max = k > kept_max ? k : kept_max, 0)
note_range(b) = b != b ? 0 : (budget_min = b < budget_min ? b : budget_min, budget_max = b > budget_max ? b : budget_max, 0)
stats data using (note_policy(strcol('policy')) + note_budget(column('budget')) \
    + note_full(strcol('policy'), column('accuracy'), column('lo'), column('hi')) \
    + note_grown(column('budget'), column('effective')) + note_n(column('n')) \
    + note_text(strcol('model'), strcol('dataset')) + note_kept(column('kept')) \
    + note_range(column('budget'))) nooutput
if (words(budgets) == 0) { budget_min = 1; budget_max = 1 }
N = words(policies)
policy(i) = word(policies, i)
colour(i) = style_colour(policy(i), i)
pale(i) = style_pale(policy(i), i)
marker(i) = style_marker(policy(i), i)

# Rows of policy i; neighbours at one budget stand a little apart.
kept_log = kept_max > 8 * kept_min
budget_log = budget_max > 8 * budget_min
kept_pad = 0.06 * (kept_max - kept_min) + 0.02 * kept_max
budget_pad = 0.12 * (budget_max - budget_min) + 0.05 * budget_max
shift(i) = i - (N + 1) / 2.0
apart(x, i) = budget_log ? x * 1.02 ** shift(i) : x + shift(i) * 0.012 * (budget_max - budget_min + 2 * budget_pad)
kept(i) = strcol('policy') eq policy(i) ? column('kept') : NaN
asked(i) = strcol('policy') eq policy(i) ? apart(column('budget'), i) : NaN
asked_grown(i) = grown(column('budget'), column('effective')) ? asked(i) : NaN

# The legend: entries in columns below both panels, which the figure grows by.
has_full = full == full
entries = N + (has_full ? 1 : 0)
longest = 4
do for [p in policies] { longest = strlen(p) > longest ? strlen(p) : longest }
entry_px = 8.4 * longest + 46
fitting = entry_px > 960 ? 1 : int(960 / entry_px)
rows_of(columns) = (entries + columns - 1) / columns
legend_rows = rows_of(fitting)
legend_columns = rows_of(legend_rows)
height = 424 + 24 * legend_rows
legend_x(i) = 0.5 + (((i - 1) % legend_columns) - legend_columns / 2.0) * entry_px / 1000.0 + 0.015
legend_y(i) = (24.0 * (legend_rows - (i - 1) / legend_columns) - 6) / height
bottom = (88 + 24.0 * legend_rows) / height
top = 1 - 44.0 / height

counts = n_min == n_max ? sprintf('n = %.0f', n_max) : sprintf('n = %.0f to %.0f', n_min, n_max)
set yrange [-0.03:1.05]

do for [format in 'svg png'] {
    if (format eq 'svg') {
        set terminal svg size 1000, height font 'DejaVu Sans,12' background '#ffffff' noenhanced
    } else {
        set terminal pngcairo size 2000, 2 * height font 'DejaVu Sans,12' fontscale 1.65 linewidth 2 dashlength 1.5 \
            pointscale 2 background '#ffffff' noenhanced
    }
    set output 'accuracy_vs_budget.'.format
    set multiplot layout 1, 2 title dataset.'    '.model.'    '.counts font ',13'
    load 'style.gp'
    set ytics nomirror 0.2 format '%.1f'
    unset key
    if (has_full) {
        set object 1 rectangle from graph 0, first full_lo to graph 1, first full_hi \
            fillcolor rgb style_band fillstyle solid noborder behind
    }
    set tmargin at screen top; set bmargin at screen bottom

    set lmargin at screen 0.075; set rmargin at screen 0.505
    set xlabel 'kept tokens per layer and KV head (mean of peaks)'
    set ylabel 'accuracy (95 % Wilson interval)'
    unset logscale x
    if (kept_log) { set logscale x 2; set xrange [kept_min / 1.2 : kept_max * 1.2] } \
    else { set xrange [kept_min - kept_pad : kept_max + kept_pad] }
    set xtics nomirror auto
    plot for [i = 1:N] data using (kept(i)):'accuracy':'lo':'hi' with yerrorbars \
            lw 1.2 pt -1 lc rgb pale(i), \
        for [i = 1:N] data using (kept(i)):'accuracy' with linespoints \
            lw 1.6 pt marker(i) ps 0.9 lc rgb colour(i), \
        full with lines lw 1.6 dashtype (14, 8) lc rgb style_full

    set lmargin at screen 0.555; set rmargin at screen 0.99
    set xlabel 'asked budget (tokens)'.(any_grown ? '; hollow: grown beyond it' : '')
    unset ylabel
    unset logscale x
    if (budget_log) { set logscale x 2; set xrange [budget_min / 1.2 : budget_max * 1.2] } \
    else { set xrange [budget_min - budget_pad : budget_max + budget_pad] }
    set xtics nomirror ()
    do for [b in budgets] { set xtics add (b b + 0) }
    do for [i = 1:N] {
        set label i policy(i) at screen legend_x(i), legend_y(i) left offset 1.2, -0.2 \
            point pt marker(i) ps 0.9 lc rgb colour(i)
    }
    if (has_full) {
        set label entries 'full' at screen legend_x(entries), legend_y(entries) left offset 1.7, 0
        set arrow 1 from screen legend_x(entries) - 0.010, legend_y(entries) \
            to screen legend_x(entries) + 0.010, legend_y(entries) \
            nohead lw 1.6 dashtype (6, 4) lc rgb style_full
    }
    plot for [i = 1:N] data using (asked(i)):'accuracy':'lo':'hi' with yerrorbars \
            lw 1.2 pt -1 lc rgb pale(i), \
        for [i = 1:N] data using (asked(i)):'accuracy' with linespoints \
            lw 1.6 pt marker(i) ps 0.9 lc rgb colour(i), \
        for [i = 1:N] data using (asked_grown(i)):'accuracy' with points \
            pt marker(i) ps 0.55 lc rgb '#ffffff', \
        full with lines lw 1.6 dashtype (14, 8) lc rgb style_full

    unset multiplot
    unset label; unset arrow; unset object
    unset output
}
