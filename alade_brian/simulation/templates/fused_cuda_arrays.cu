{# How kernels come to Brian2's arrays: `on_device` finds them on the GPU, `of_image` are those of one image. #}
{% macro on_device(arrays) %}
    {% for array in arrays %}
    static {{array.type}}* const _found_{{array.name}} = shared::on_device({{array.name}}, {{array.size}}, {{'true' if array.each else 'false'}});
    {{array.type}}* const _all_{{array.name}} = _found_{{array.name}};
    {% endfor %}
{% endmacro %}
{% macro of_image(arrays) %}
        {% for array in arrays %}
        {{array.type}}* __restrict__ const {{array.pointer}} = _all_{{array.name}}{{ ' + (std::size_t)_at.image * ' ~ array.size if array.each }};
        {% endfor %}
{% endmacro %}
