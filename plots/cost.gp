# Redraw with `gnuplot cost.gp` in the folder that holds this, style.gp and the data.
load 'style.gp'
data = 'cost.tsv'

# One pass over the rows: the policies, what full took, ranges, the title.
policies = ''; budgets = ''; model = ''; dataset = ''; n_min = 1e18; n_max = 0
note_policy(p) = (p eq 'full' || style_has(policies, p)) ? 0 : (policies = policies.' '.p, 0)
note_text(m, d) = (model = m, dataset = d, 0)
note_n(n) = (n_min = n < n_min ? n : n_min, n_max = n > n_max ? n : n_max, 0)
low = 1e18; high = 0; top_y = 0; cheap = 1e18; dear = 0; fx = NaN; fy = NaN; flo = NaN; fhi = NaN; fc = NaN; front_x = ''; front_y = ''
note_range(x, h) = (top_y = h > top_y ? h : top_y, low = x < low ? x : low, high = x > high ? x : high, 0)
note_cost(c) = c == c ? (cheap = c < cheap ? c : cheap, dear = c > dear ? c : dear, 0) : 0
note_full(p, x, y, l, h, c) = p eq 'full' && c == c ? (fx = x, fy = y, flo = l, fhi = h, fc = c, 0) : 0
stats data using (note_policy(strcol('policy')) + note_n(column('n')) + note_text(strcol('model'), strcol('dataset')) \
    + note_range(column('mib'), column('hi')) + note_cost(column('cost_lo')) + note_cost(column('cost_hi')) \
    + note_full(strcol('policy'), column('mib'), column('accuracy'), column('lo'), column('hi'), column('cost'))) nooutput
N = words(policies)
policy(i) = word(policies, i)
colour(i) = style_colour(policy(i), i)
pale(i) = style_pale(policy(i), i)
marker(i) = style_marker(policy(i), i)
has_full = fx == fx
counts = n_min == n_max ? sprintf('n = %.0f', n_max) : sprintf('n = %.0f to %.0f', n_min, n_max)
mib(i) = strcol('part') eq 'cell' && strcol('policy') eq policy(i) ? column('mib') : NaN
full_mib = 'full'
front(w) = strcol('part') eq 'front' ? column(w) : NaN

width = 1000
longest = style_longest(policies)
entry_px = 8.4 * longest + 46
entries = N + 2
columns = style_columns(entries, entry_px, width)
legend_rows = style_rows(entries, columns)
legend_x(i) = 0.5 + ((i - 1) % columns - columns / 2.0) * entry_px / width + 0.015
legend_y(i) = (24.0 * (legend_rows - (i - 1) / columns) - 6) / height
height = 424 + 24 * legend_rows
bottom = (84 + 24.0 * legend_rows) / height
top = 1 - 44.0 / height

do for [format in 'svg png'] {
    if (format eq 'svg') {
        set terminal svg size width, height font 'DejaVu Sans,12' background '#ffffff' noenhanced
    } else {
        set terminal pngcairo size 2 * width, 2 * height font 'DejaVu Sans,12' fontscale 1.65 linewidth 2 dashlength 1.5 \
            pointscale 2 background '#ffffff' noenhanced
    }
    set output 'cost.'.format
    set multiplot layout 1, 2 title dataset.'    '.model.'    '.counts font ',13'
    load 'style.gp'
    unset key
    set tmargin at screen top; set bmargin at screen bottom
    set logscale x 2
    set xrange [low / 1.2 : high * 1.2]
    set xtics nomirror format '%g'
    set xlabel 'KV cache of a sequence (MiB, mean of peaks)'

    set lmargin at screen 0.075; set rmargin at screen 0.49
    unset logscale y
    set yrange [-0.03 * top_y : 1.05 * top_y]
    set ytics nomirror top_y > 0.5 ? 0.2 : 0.1 format '%.1f'
    set ylabel 'accuracy (95 % Wilson interval)'
    plot data using (front('mib')):'accuracy' with steps lw 7 lc rgb '#d8d8d8', \
        for [i = 1:N] data using (mib(i)):'accuracy':'lo':'hi' with yerrorbars lw 1.2 pt 0 lc rgb pale(i), \
        for [i = 1:N] data using (mib(i)):'accuracy' with linespoints lw 1.4 pt marker(i) ps 0.8 lc rgb colour(i), \
        '+' using (fx):(fy):(flo):(fhi) every ::::0 with yerrorbars lw 1.4 pt 4 ps 1.1 lc rgb style_full

    set lmargin at screen 0.585; set rmargin at screen 0.99
    set logscale y 10
    set yrange [cheap / 1.3 : dear * 1.3]
    set ytics nomirror format '%g' ()
    do for [d = int(floor(log10(cheap))):int(ceil(log10(dear)))] for [m in dear > 40 * cheap ? '1' : '1 2 5'] {
        set ytics add (sprintf('%g', m * 10.0 ** d) m * 10.0 ** d)
    }
    set ylabel 'KV MiB held for each right answer (95 %)'
    do for [i = 1:N] {
        set label i policy(i) at screen legend_x(i), legend_y(i) left offset 1.2, -0.2 point pt marker(i) ps 0.9 lc rgb colour(i)
    }
    if (has_full) {
        set label entries - 1 'full' at screen legend_x(entries - 1), legend_y(entries - 1) left offset 1.2, -0.2 \
            point pt 4 ps 1.1 lc rgb style_full
    }
    set label entries 'best for its memory' at screen legend_x(entries), legend_y(entries) left offset 1.7, 0
    set arrow 2 from screen legend_x(entries) - 10.0 / width, legend_y(entries) \
        to screen legend_x(entries) + 10.0 / width, legend_y(entries) nohead lw 7 lc rgb '#d8d8d8'
    if (has_full && fc == fc) {
        set arrow 1 from graph 0, first fc to graph 1, first fc nohead lw 1.2 dashtype (6, 4) lc rgb style_full back
    }
    plot for [i = 1:N] data using (mib(i)):'cost':'cost_lo':'cost_hi' with yerrorbars lw 1.2 pt 0 lc rgb pale(i), \
        for [i = 1:N] data using (mib(i)):'cost' with linespoints lw 1.4 pt marker(i) ps 0.8 lc rgb colour(i), \
        '+' using (fx):(fc) every ::::0 with points lw 1.4 pt 4 ps 1.1 lc rgb style_full

    unset multiplot
    unset label; unset arrow
    unset output
}
